"""API keys: `keys/keys.json` below the data root, and who a token is.

A token is `sk_<id>_<secret>`. The id is public. Of the secret, 256 random bits, only the SHA-256 is kept: it cannot be
guessed, so that a slow hash would protect nothing and cost every request.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.access.principal import Principal, Scope
from app.access.watched import AccessError, Watched
from app.parameters import Name as CameraName
from app.refusals import Refusal, ServiceCode
from model.files import exclusive, replace_text

FOLDER, FILE = "keys", "keys.json"
PREFIX = b"sk_"
# Where id and secret stand in a token, and how long it is. No pattern looks at their digits: the time that takes would
# depend on them.
ID, SECRET, TOKEN_BYTES = slice(3, 19), slice(20, 84), 84
MAX_RATE = 1_000_000

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f:]+$")]


class _Bound(BaseModel):
    """Cameras by names that a frame can give: bound to another, a new key would let nothing in."""

    cameras: tuple[CameraName, ...]


class Key(BaseModel):
    """One key, as it is kept. A revoked one stays, so that its id and name still say something in the audit log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9a-f]{16}$")
    name: Name
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    cameras: tuple[str, ...] | None = Field(None, min_length=1)
    rate_per_minute: int | None = Field(None, ge=0, le=MAX_RATE)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    def state(self, now: datetime) -> str:
        """`revoked`, `expired` or `valid`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


class _Entry:
    """What a request needs of a key."""

    __slots__ = ("digest", "expires_s", "id", "key", "principal")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.id = key.id.encode()
        self.digest = bytes.fromhex(key.sha256)
        self.expires_s = key.expires_at.timestamp() if key.expires_at else float("inf")
        cameras = None if key.cameras is None else frozenset(key.cameras)
        self.principal = Principal(key.name, "key", frozenset(key.scopes), cameras, key.id, key.rate_per_minute)


# Compared with where an id is unknown, so that it takes as long. No secret has this digest that anybody could know.
_NOBODY = _Entry(
    Key(
        id="0" * 16,
        name="nobody",
        sha256=secrets.token_hex(32),
        scopes=(Scope.READ,),
        created_at=datetime.fromtimestamp(0, UTC),
        revoked_at=datetime.fromtimestamp(0, UTC),
    )
)


class _Table:
    """The keys by id. To find that there is none takes as long as to find one: all places are equally deep, and each is
    looked through to its end. A dict told the two apart by nanoseconds.
    """

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self.count = len(entries)
        self._mask = (1 << (4 * len(entries)).bit_length()) - 1
        places: list[list[_Entry]] = [[] for _ in range(self._mask + 1)]
        for entry in entries:
            places[hash(entry.id) & self._mask].append(entry)
        depth = max(1, *map(len, places))
        empty = (_NOBODY,) * depth
        self._places = [tuple(place) + empty[len(place) :] if place else empty for place in places]

    def find(self, key_id: bytes, digest: bytes) -> _Entry | None:
        """The key of that id, if the digest is its secret's."""
        found = None
        for entry in self._places[hash(key_id) & self._mask]:
            if hmac.compare_digest(entry.id, key_id) & hmac.compare_digest(entry.digest, digest):
                found = entry
        return found


class Keys:
    """The keys as a server sees them; for `app.access.gate`."""

    prefix = PREFIX

    def __init__(self, home: Path) -> None:
        self._file: Watched[_Table] = Watched(home / FOLDER / FILE, _table, _Table(()))

    @property
    def exist(self) -> bool:
        """Whether there is any, be it revoked: the last one's end does not open a server. True if nobody can tell."""
        return self._file.value is None or self._file.value.count > 0

    def refresh(self) -> None:
        """Look whether they have changed."""
        self._file.refresh()

    def require(self) -> bool:
        """Whether there is any. Raises `AccessError` where nobody can tell."""
        return self._file.read().count > 0

    def principal(self, token: bytes) -> Principal:
        """Whose token it is. Raises `Refusal` (key_invalid, keys_unavailable).

        A secret that is nearly right, one that is all wrong and an id that there is not take the same time.
        """
        table = self._file.value
        if table is None:
            raise Refusal(ServiceCode.KEYS_UNAVAILABLE, "the keys cannot be read; the server's log says why")
        if len(token) != TOKEN_BYTES or token[ID.stop : SECRET.start] != b"_":
            raise _invalid("a key is sk_, 16 hexadecimal digits, _ and 64 more; this one is not whole")
        entry = table.find(token[ID], hashlib.sha256(token[SECRET]).digest())
        if entry is None:
            raise _invalid("there is no such key; `python -m app keys list` shows those that there are")
        # From here on the secret was right: its holder may know what has become of the key.
        if entry.key.revoked_at is not None:
            raise _invalid(f"the key was revoked at {entry.key.revoked_at:%Y-%m-%dT%H:%M:%SZ}")
        if entry.expires_s <= time.time():
            raise _invalid(f"the key expired at {entry.key.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        return entry.principal


def _invalid(why: str) -> Refusal:
    return Refusal(ServiceCode.KEY_INVALID, f"the key is not valid: {why}")


def _table(content: bytes) -> _Table:
    return _Table([_Entry(key) for key in _parsed(content)])


def _parsed(content: bytes) -> tuple[Key, ...]:
    """Raises ValueError."""
    keys = _Content.model_validate_json(content).keys
    if len({key.id for key in keys}) != len(keys):
        raise ValueError
    return keys


def read_keys(home: Path) -> tuple[Key, ...]:
    """All keys of a data root, in the order that they were made. Raises `AccessError`."""
    file: Watched[tuple[Key, ...]] = Watched(home / FOLDER / FILE, _parsed, ())
    return file.read()


def create_key(
    home: Path,
    name: str,
    scopes: Sequence[Scope],
    *,
    cameras: Sequence[str] | None = None,
    rate_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """A new key, and its token: nobody can be shown that again. Raises `AccessError`."""
    secret = secrets.token_hex(32)
    if cameras and Scope.INSPECT not in scopes:
        raise AccessError("a key bound to cameras needs the scope inspect: nothing else is bounded by cameras")
    try:
        key = Key(
            id=secrets.token_hex(8),
            name=name,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=tuple(dict.fromkeys(scopes)),
            cameras=_Bound(cameras=tuple(dict.fromkeys(cameras))).cameras if cameras else None,
            rate_per_minute=rate_per_minute,
            created_at=datetime.now(UTC).replace(microsecond=0),
            expires_at=expires_at,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise AccessError(f"{first['loc'][0]}: received {first['input']!r}; {first['msg'].lower()}") from None
    with _changing(home) as keys:
        if any(each.name == name and each.revoked_at is None for each in keys):
            raise AccessError(f"there is a key named {name!r} already; name it otherwise, or revoke that one first")
        keys.append(key)
    return key, f"{PREFIX.decode()}{key.id}_{secret}"


def revoke_key(home: Path, key_id: str) -> Key:
    """The key, revoked; revoking it twice changes nothing. Raises `AccessError`."""
    with _changing(home) as keys:
        number = next((number for number, each in enumerate(keys) if each.id == key_id), None)
        if number is None:
            raise AccessError(f"there is no key with the id {key_id!r}; `python -m app keys list` shows all ids")
        if keys[number].revoked_at is None:
            now = datetime.now(UTC).replace(microsecond=0)
            keys[number] = keys[number].model_copy(update={"revoked_at": now})
    return keys[number]


def keep_revoked(before: Path, home: Path) -> list[str]:
    """Revoke keys of a data root that stands for an earlier time, as far as they were revoked in another since.

    The names of these. Raises `AccessError`.
    """
    revoked = {key.id: key for key in read_keys(before) if key.revoked_at is not None}
    with _changing(home) as keys:
        numbers = [number for number, key in enumerate(keys) if key.id in revoked and key.revoked_at is None]
        for number in numbers:
            keys[number] = revoked[keys[number].id]
    return [keys[number].name for number in numbers]


@contextmanager
def _changing(home: Path) -> Iterator[list[Key]]:
    """The keys in a list that is kept when the block ends well. Raises `AccessError`."""
    with private_folder(home) as folder:
        keys = list(read_keys(home))
        before: Sequence[Key] = tuple(keys)
        yield keys
        if tuple(keys) != before:
            write_private(folder / FILE, _Content(keys=tuple(keys)).model_dump_json(indent=1) + "\n")


@contextmanager
def private_folder(home: Path) -> Iterator[Path]:
    """The folder of keys and people, closed to all other users, and to other processes that change it.

    Raises `AccessError`, also for what the block meets of the file system.
    """
    folder = home / FOLDER
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        give_to_owner_of(home, folder)
        with exclusive(folder / ".lock"):
            give_to_owner_of(home, folder / ".lock")
            yield folder
    except OSError as error:
        raise AccessError(f"{folder} cannot be written ({error.strerror})") from error


def write_private(path: Path, text: str) -> None:
    """Replace a file of the folder, readable for its owner alone. Raises OSError."""
    replace_text(path, text, mode=0o600)
    give_to_owner_of(path.parent.parent, path)


def give_to_owner_of(home: Path, path: Path) -> None:
    """What root makes in a data root of the user that serves belongs to that user, or the server could not use it."""
    if os.geteuid() == 0:
        owner = home.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
