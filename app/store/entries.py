"""What goes into the record: inspections with their events and pictures, refused frames, and other changes."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.archive import ArchiveError, Picture

Row = dict[str, Any]


class Model(NamedTuple):
    """A version and its thresholds, which never change."""

    version: str
    review_threshold: float
    defect_threshold: float


@dataclass(eq=False, slots=True)
class Entry:
    """One inspection on its way into the record.

    row: columns of `inspections` but for `coil`, `model` and those of the image; events: columns of `events` but for
    `inspection` and `coil`. picture: to be archived. token: whatever its owner knows it by. put: the picture on its way
    into the archive.
    """

    row: Row
    events: list[Row]
    coil_id: str | None
    model: Model
    picture: Picture | None
    token: Any
    put: "Future[ArchiveError | None] | None" = None

    @property
    def number(self) -> int:
        """Of the inspection."""
        return int(self.row["number"])


@dataclass(eq=False, slots=True)
class RefusedFrame:
    """A frame that was not inspected. row: columns of `refused_frames` but for `coil`."""

    row: Row
    coil_id: str | None


@dataclass(eq=False, slots=True)
class Change:
    """Anything else: `work` is given the group's transaction, and `done` what it returns once that is committed."""

    work: Callable[[Connection], Any]
    done: "Future[Any]"


@dataclass(frozen=True, slots=True)
class Committed:
    """The inspection is in the record."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The request was answered before: the first answer, and nothing new in the record."""

    said: dict[str, Any]


Outcome = Committed | Repeat | BaseException
Settled = tuple[Entry, Outcome]
