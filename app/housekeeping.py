"""What a server does for its record beside recording: coils that fell idle are closed, images past their time go."""

import asyncio
import itertools
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from app import orphans, retention
from app.archive import FOLDERS
from app.metrics import Metrics
from app.retention import Expired, Policy
from app.settings import Settings
from app.store.coils import close_idle
from app.store.inserting import now
from app.store.record import Record

# A coil's closing may be late by so much.
IDLE_EVERY_S = 5.0
RETENTION_EVERY_S = 60.0

log = structlog.get_logger("steelsight.housekeeping")


class Housekeeping:
    """Every worker does it, each change in a transaction: whoever comes second finds nothing left to do."""

    def __init__(self, settings: Settings, record: Record, metrics: Metrics) -> None:
        self._idle = timedelta(seconds=settings.coil_idle_seconds)
        self._policies = retention.policies(settings)
        self._record = record
        self._metrics = metrics
        # An archive outside the data root may be another server's too, whose record we do not know.
        self._sweeps = Path(settings.archive).resolve().is_relative_to(settings.home.resolve())
        self._folders = itertools.cycle(FOLDERS)

    async def run(self) -> None:
        """Until cancelled. What fails is logged, and tried again the next time."""
        loop = asyncio.get_running_loop()
        retention_at = 0.0
        while True:
            try:
                await asyncio.to_thread(self._record.renew)
                await self.close_idle_coils()
                if loop.time() >= retention_at:
                    await self.delete_images()
                    await self.sweep_orphans(next(self._folders))
                    retention_at = loop.time() + RETENTION_EVERY_S
            # Whatever it is: the next pass may find it mended, and without one no coil would ever be closed.
            except Exception as error:
                log.warning("housekeeping_failed", reason=str(error), exc_info=error)
            await asyncio.sleep(IDLE_EVERY_S)

    async def close_idle_coils(self) -> None:
        """Close the coils of which no frame came for long."""
        for coil_id in await self._record.write(lambda connection: close_idle(connection, self._idle, now())):
            log.info("coil_closed", coil_id=coil_id, by="idle")

    async def delete_images(self) -> None:
        """Delete images past their age or beyond their share of the archive, a few at a time."""
        record = self._record
        for policy in self._policies:
            while chosen := await asyncio.to_thread(self._expired, policy):
                await record.write(partial(retention.mark, chosen=chosen, at=now()))
                log.info("images_deleted", verdict=policy.verdict, images=len(chosen))
        while await record.write(partial(retention.purge, archive=record.archive, at=now())):
            pass
        record.archive.used = await record.write(retention.used_bytes)

    async def sweep_orphans(self, folder: str) -> None:
        """Have the files go that no row names, a folder at a time: all of them once in four hours, by one worker."""
        record = self._record
        if not self._sweeps or record.numbers.tag != 0:
            return
        before = now() - orphans.KEPT
        found = await asyncio.to_thread(lambda: list(orphans.orphans(record.archive, record.database, folder, before)))
        if found and (swept := await record.write(partial(orphans.sweep, folder=folder, found=found, at=now()))):
            self._metrics.orphans_swept.inc(swept)
            log.info("orphans_swept", folder=folder, images=swept)

    def _expired(self, policy: Policy) -> list[Expired]:
        # Beside the writer, for it may look at all images: inspections do not wait for that.
        with self._record.reading() as connection:
            return retention.expired(connection, policy, now())
