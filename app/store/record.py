"""The record of one worker process: database, archive and writer, opened and closed together."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection

from app.archive import Archive, open_archive
from app.examined import Examinations
from app.metrics import Metrics
from app.plant import Plant, load_plant
from app.settings import Settings
from app.store.database import SQLITE_FILE, Database, open_database, sqlite_url
from app.store.entries import Entry, RefusedFrame, Settled
from app.store.inserting import greatest_number
from app.store.migrate import migrate
from app.store.numbers import Numbers
from app.store.tags import Claim, claim
from app.store.writer import Writer

T = TypeVar("T")


class Record:
    """Where inspections go, and where they are found again."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.numbers = Numbers()
        self.database: Database
        self.archive: Archive
        self.plant: Plant
        self.examinations: Examinations
        self._claim: Claim
        self._writer: Writer

    def open(self, settle: Callable[[Sequence[Settled]], None]) -> None:
        """Open everything, and tell `settle` of every entry that is filed from here on.

        Raises `DatabaseError`, `ArchiveError` and `PlantError`.
        """
        settings = self._settings
        self.plant = load_plant(settings.plant)
        self.examinations = Examinations(self.plant)
        self.archive = open_archive(settings.archive, settings.archive_max_bytes)
        self.database = database_of(settings)
        migrate(self.database)
        self._claim = claim(self.database)
        self.numbers.tag = self._claim.tag
        with self.database.reading() as connection:
            self.numbers.raise_to(greatest_number(connection))
        refuse = settings.archive_when_full == "refuse"
        self._writer = Writer(self.database, self.archive, self._metrics, refuse_without_image=refuse)
        self._writer.open(settle)

    def close(self) -> None:
        """Commit what waits, and let everything go."""
        self._writer.close()
        self.archive.close()
        self._claim.close()
        self.database.close()

    def renew(self) -> None:
        """See that this process's tag is its own still. Raises what the database raises."""
        self._claim.renew()
        self.numbers.tag = self._claim.tag

    @property
    def waiting(self) -> int:
        """How many things are not committed yet."""
        return self._writer.waiting

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view of what is committed."""
        return self.database.reading()

    def file(self, entries: Sequence[Entry]) -> None:
        """Put inspections into the record; `settle` is told when they are there."""
        self._writer.submit(entries)

    def refused(self, frame: RefusedFrame) -> None:
        """Put a frame that was not inspected into the record."""
        self._writer.refused(frame)

    def note(self, work: Callable[[Connection], object]) -> None:
        """As `Writer.note`."""
        self._writer.note(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """As `Writer.write`."""
        return await self._writer.write(work)


def database_of(settings: Settings) -> Database:
    """Raises `DatabaseError`."""
    return open_database(settings.database_url or sqlite_url((settings.home / SQLITE_FILE).absolute()))
