"""People: `keys/people.json` below the data root: who they are, what their role lets them do, how they sign in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.access.keys import FOLDER, private_folder, write_private
from app.access.passwords import hashed
from app.access.principal import Principal, Scope
from app.access.watched import AccessError, Watched

FILE = "people.json"


class Role(StrEnum):
    """What a person is here to do; each may do what those before it may."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADMIN = "admin"


SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.REVIEWER: frozenset({Scope.READ, Scope.REVIEW}),
    Role.ADMIN: frozenset(Scope),
}

# As reviews and the audit log write it; a colon parts an actor's name from its kind there.
PersonName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s\x00-\x1f\x7f:][^\x00-\x1f\x7f:]*$")]


class Person(BaseModel):
    """One person, as kept. Nobody is ever removed: a name in the record stays the same person's.

    password: argon2id; None where an OpenID provider vouches. subject: who that provider says it is, with its address.
    generation: sessions of another one have ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PersonName
    role: Role
    password: str | None = None
    subject: str | None = None
    disabled: bool = False
    generation: int = 0

    @property
    def principal(self) -> Principal:
        """The person as one who asks."""
        return Principal(self.name, "person", SCOPES[self.role])


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    people: tuple[Person, ...] = ()


def _parsed(content: bytes) -> tuple[Person, ...]:
    """Raises ValueError."""
    people = _Content.model_validate_json(content).people
    if len({each.name for each in people}) != len(people):
        raise ValueError
    return people


def by_name(content: bytes) -> Mapping[str, Person]:
    """The people of a file. Raises ValueError."""
    return {each.name: each for each in _parsed(content)}


def read_people(home: Path) -> tuple[Person, ...]:
    """Everybody, in the order that they were added. Raises `AccessError`."""
    return Watched[tuple[Person, ...]](home / FOLDER / FILE, _parsed, ()).read()


def add_person(home: Path, name: str, role: Role, password: str) -> Person:
    """A new person who signs in with a password. Raises `AccessError`."""
    _require_name(name)
    kept = hashed(password, name)
    with _changing(home) as people:
        if any(each.name.casefold() == name.casefold() for each in people):
            raise AccessError(f"there is a person {name!r} already; `python -m app people list` shows everybody")
        people.append(Person(name=name, role=role, password=kept))
    return people[-1]


def change_role(home: Path, name: str, role: Role) -> Person:
    """Another role; every session of the person ends. Raises `AccessError`."""
    return _changed(home, name, role=role)


def change_password(home: Path, name: str, password: str) -> Person:
    """Another password; every session of the person ends. Raises `AccessError`."""
    return _changed(home, name, password=hashed(password, name))


def disable_person(home: Path, name: str, disabled: bool = True) -> Person:
    """Let a person in no longer, or again; every session of the person ends. Raises `AccessError`."""
    return _changed(home, name, disabled=disabled)


def end_sessions(home: Path, name: str) -> Person:
    """Sign a person out everywhere. Raises `AccessError`."""
    return _changed(home, name)


def vouched_for(home: Path, name: str, subject: str, role: Role) -> Person:
    """The person whom an OpenID provider has named, added or with the role that it says now.

    Raises `AccessError`: the name is another person's.
    """
    _require_name(name)
    with _changing(home) as people:
        number = next((number for number, each in enumerate(people) if each.subject == subject), None)
        if number is None:
            if any(each.name.casefold() == name.casefold() for each in people):
                raise AccessError(f"the name {name!r} is another person's here; an administrator must tell them apart")
            people.append(Person(name=name, role=role, subject=subject))
            return people[-1]
        person = people[number]
        if person.role != role:
            changes = {"role": role, "generation": person.generation + 1}
            people[number] = person.model_copy(update=changes)
        return people[number]


def keep_changed(before: Path, home: Path) -> list[str]:
    """In a data root that stands for an earlier time: people as they are in another since, by their generation.

    The names of those who differ. Raises `AccessError`.
    """
    since = {person.name: person for person in read_people(before)}
    with _changing(home) as people:
        numbers = [
            number
            for number, person in enumerate(people)
            if person.name in since and since[person.name].generation > person.generation
        ]
        for number in numbers:
            people[number] = since[people[number].name]
    return [people[number].name for number in numbers]


def _changed(home: Path, name: str, **changes: object) -> Person:
    with _changing(home) as people:
        number = next((number for number, each in enumerate(people) if each.name == name), None)
        if number is None:
            raise AccessError(f"there is no person {name!r}; `python -m app people list` shows everybody")
        person = people[number]
        people[number] = person.model_copy(update={**changes, "generation": person.generation + 1})
        return people[number]


def _require_name(name: str) -> None:
    try:
        TypeAdapter(PersonName).validate_python(name)
    except ValidationError:
        raise AccessError(
            f"received the name {name!r}; expected 1 to 64 printable characters without a colon, the first no space"
        ) from None


@contextmanager
def _changing(home: Path) -> Iterator[list[Person]]:
    """The people in a list that is kept when the block ends well. Raises `AccessError`."""
    with private_folder(home) as folder:
        people = list(read_people(home))
        before: Sequence[Person] = tuple(people)
        yield people
        if tuple(people) != before:
            write_private(folder / FILE, _Content(people=tuple(people)).model_dump_json(indent=1) + "\n")
