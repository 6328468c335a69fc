"""Who asks: a key, a person, or anybody where the server is open."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Scope(StrEnum):
    """What one may do. None of them implies another."""

    INSPECT = "inspect"
    READ = "read"
    REVIEW = "review"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who asks, and what for.

    id: what tells two of a kind apart for ever; a name may be given again. cameras: the `camera_id`s that frames to
    inspect must name, None for any; nothing else is bounded by them. rate_per_minute: requests, None for the server's
    own rate, 0 for no bound.
    """

    name: str
    kind: Literal["key", "person", "open"]
    scopes: frozenset[Scope]
    cameras: frozenset[str] | None = None
    id: str = ""
    rate_per_minute: int | None = None

    @property
    def actor(self) -> str:
        """As the audit log and the request log name it.

        >>> Principal("line-1", "key", frozenset(), id="a1b2").actor
        'key:line-1:a1b2'
        """
        return ":".join(part for part in (self.kind, self.name, self.id) if part)

    def sends(self, camera_id: str | None) -> bool:
        """Whether frames that name this camera, or none, may come from here."""
        return self.cameras is None or camera_id in self.cameras


# Whoever reaches a server that asks for no key.
ANYBODY = Principal("", "open", frozenset(Scope))
