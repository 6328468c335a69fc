"""Sessions of people: signed tokens, `ss_...`, that say who signed in and when.

A token holds for twelve hours and is refused before that once its person is disabled, has another role or password, or
has signed out. They are signed with `keys/session.key`; those signed out one by one stand in `keys/ended.json`.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import TypeAdapter

from app.access.keys import FOLDER, private_folder, write_private
from app.access.people import FILE, Person, by_name, end_sessions
from app.access.principal import Principal
from app.access.watched import Watched
from app.refusals import Refusal, ServiceCode

PREFIX = b"ss_"
KEY_FILE, ENDED_FILE = "session.key", "ended.json"
# A shift and the handing over at both its ends.
LASTS_S = 12 * 3600
# Of sessions signed out one by one; where more would be remembered, all of the person's end instead.
MOST_ENDED = 10_000
LONGEST_TOKEN = 1024
AGAIN = "sign in again"

_Ended = TypeAdapter(dict[str, float])


@dataclass(frozen=True)
class Session:
    """One person signed in at one place; id: random, of this session alone."""

    person: Person
    id: str
    expires_at: datetime


class Sessions:
    """The sessions as a server sees them; for `app.access.gate`."""

    prefix = PREFIX

    def __init__(self, home: Path) -> None:
        self._home = home
        self._people = Watched[Mapping[str, Person]](home / FOLDER / FILE, by_name, {})
        self._key = Watched(home / FOLDER / KEY_FILE, _key_of, "")
        self._ended = Watched[Mapping[str, float]](home / FOLDER / ENDED_FILE, _Ended.validate_json, {})

    @property
    def exist(self) -> bool:
        """Whether there is any person, be it disabled. True if nobody can tell."""
        return self._people.value is None or bool(self._people.value)

    def refresh(self) -> None:
        """Look whether people, the key or the ended sessions have changed."""
        for file in (self._people, self._key, self._ended):
            file.refresh()

    def require(self) -> bool:
        """Whether there is any person. Raises `AccessError` where nobody can tell."""
        return bool(self._people.read())

    def person(self, name: str) -> Person | None:
        """Whoever has that name. Raises `Refusal` (keys_unavailable)."""
        if self._people.value is None:
            raise Refusal(ServiceCode.KEYS_UNAVAILABLE, "the people cannot be read; the server's log says why")
        return self._people.value.get(name)

    def principal(self, token: bytes) -> Principal:
        """Whose token it is. Raises `Refusal` (key_invalid, keys_unavailable)."""
        return self.session(token).person.principal

    def session(self, token: bytes) -> Session:
        """Whose token it is, and until when. Raises as `principal`."""
        if self._ended.value is None or self._key.value is None:
            raise Refusal(ServiceCode.KEYS_UNAVAILABLE, "the sessions cannot be read; the server's log says why")
        try:
            if not self._key.value or len(token) > LONGEST_TOKEN:
                raise BadData("no session")
            signed = token.removeprefix(PREFIX)
            (name, generation, number), began = _signer(self._key.value).loads(signed, LASTS_S, return_timestamp=True)
            if not (isinstance(name, str) and isinstance(number, str)):
                raise ValueError
        # Whatever is no token of this server, also one that is signed and of another shape.
        except (BadData, ValueError, TypeError):
            raise _over(f"the session has ended or is none of this server; {AGAIN}") from None
        person = self.person(name)
        if person is None or person.disabled or person.generation != generation or number in self._ended.value:
            raise _over(f"the session was ended; {AGAIN}")
        return Session(person, number, datetime.fromtimestamp(began.timestamp() + LASTS_S, UTC))

    def begin(self, person: Person) -> str:
        """A token for somebody who has shown who it is. Raises `AccessError`."""
        if not self._key.value:
            make_session_key(self._home)
        self.refresh()
        assert self._key.value
        return PREFIX.decode() + str(
            _signer(self._key.value).dumps([person.name, person.generation, secrets.token_hex(8)])
        )

    def end(self, session: Session) -> None:
        """Refuse its token from now on. Raises `AccessError`."""
        now_s = time.time()
        with private_folder(self._home) as folder:
            ended = {number: until for number, until in self._ended.read().items() if until > now_s}
            full = len(ended) >= MOST_ENDED
            if not full:
                ended[session.id] = session.expires_at.timestamp()
                write_private(folder / ENDED_FILE, _Ended.dump_json(ended).decode())
        if full:
            end_sessions(self._home, session.person.name)
        self.refresh()

    def end_all(self, session: Session) -> None:
        """Sign its person out everywhere. Raises `AccessError`."""
        end_sessions(self._home, session.person.name)
        self.refresh()


def make_session_key(home: Path) -> None:
    """What sessions are signed with, if there is none. Raises `AccessError`."""
    with private_folder(home) as folder:
        if not (folder / KEY_FILE).exists():
            write_private(folder / KEY_FILE, secrets.token_hex(32))


def _signer(key: str) -> URLSafeTimedSerializer:
    options = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeTimedSerializer(key, salt="steelsight.session", signer_kwargs=options)


def _key_of(content: bytes) -> str:
    if len(bytes.fromhex(content.decode("ascii"))) < 32:
        raise ValueError
    return content.decode("ascii")


def _over(why: str) -> Refusal:
    return Refusal(ServiceCode.KEY_INVALID, why)
