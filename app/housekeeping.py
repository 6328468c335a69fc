"""What a server does for its record beside recording: coils that fell idle are closed, what closed ones come down to is
kept, images past their time go, and versions that were made active behind its back are told to the audit log.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from app import orphans, retention
from app.archive import FOLDERS
from app.retention import Expired, Policy
from app.service import Service
from app.store import runs
from app.store.audit import append_activation
from app.store.coils import close_idle
from app.store.inserting import now
from app.store.schema import EPOCH
from model.errors import SteelsightError
from model.registry import POINTER, Pointed

# A coil's closing may be late by so much.
IDLE_EVERY_S = 5.0
RETENTION_EVERY_S = 60.0
# Of the largest each takes a twentieth of a second; after an upgrade there are thousands.
RUNS_AT_ONCE = 16

Step = Callable[[], Awaitable[None]]

log = structlog.get_logger("steelsight.housekeeping")


class Housekeeping:
    """Every worker does it, each change in a transaction: whoever comes second finds nothing left to do."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._registry = service.slot.loader.registry
        # As it was seen at the last look, and as the audit log knows it.
        self._pointed: Pointed | None = None
        self._told: Pointed | None = None
        self._idle = timedelta(seconds=settings.coil_idle_seconds)
        self._policies = retention.policies(settings)
        self._record = service.store
        self._metrics = service.metrics
        # An archive outside the data root may be another server's too, whose record we do not know.
        self._sweeps = Path(settings.archive).resolve().is_relative_to(settings.home.resolve())
        self._folders = itertools.cycle(FOLDERS)

    async def run(self) -> None:
        """Until cancelled. A step that fails keeps no other from its turn, and is tried again the next time."""
        # How long each rests once it is done.
        rests_s: dict[Step, float] = {
            self.renew: 0.0,
            self.close_idle_coils: 0.0,
            self.keep_runs: 0.0,
            self.tell_activation: 0.0,
            self.delete_images: RETENTION_EVERY_S,
            self.count_images: RETENTION_EVERY_S,
            self.sweep_next: RETENTION_EVERY_S,
        }
        loop = asyncio.get_running_loop()
        due = dict.fromkeys(rests_s, 0.0)
        while True:
            for step, rest_s in rests_s.items():
                if loop.time() >= due[step] and await self._done(step):
                    due[step] = loop.time() + rest_s
            await asyncio.sleep(IDLE_EVERY_S)

    async def _done(self, step: Step) -> bool:
        try:
            await step()
        # Whatever it is: the next pass may find it mended, and without one no coil would ever be closed.
        except Exception as error:
            log.warning("housekeeping_failed", step=step.__name__, reason=str(error), exc_info=error)
            return False
        return True

    async def renew(self) -> None:
        """See that the numbers that this process draws are still its own."""
        await asyncio.to_thread(self._record.renew)

    async def close_idle_coils(self) -> None:
        """Close the coils of which no frame came for long."""
        for coil_id in await self._record.write(lambda connection: close_idle(connection, self._idle, now())):
            log.info("coil_closed", coil_id=coil_id, by="idle")

    async def keep_runs(self) -> None:
        """Keep the runs of some closed coils, so that who looks at one need not wait until all its frames are read."""
        tolerance_mm = self._record.plant.coverage.tolerance_mm
        for coil, found in await asyncio.to_thread(self._found_runs, tolerance_mm):
            await self._record.write(partial(runs.keep, coil=coil, tolerance_mm=tolerance_mm, runs=found))

    def _found_runs(self, tolerance_mm: float) -> list[tuple[runs.Closed, list[runs.Run]]]:
        with self._record.reading() as connection:
            return [
                (coil, runs.found(connection, coil.number, tolerance_mm))
                for coil in runs.unkept(connection, tolerance_mm, RUNS_AT_ONCE)
            ]

    async def tell_activation(self) -> None:
        """Tell the audit log of a version that `python -m model` made active: that knows no database.

        What the API activates has its line a moment after the pointer moved: only what stood there at the last look
        already, and has none yet, is anyone else's.
        """
        try:
            pointed = await asyncio.to_thread(self._registry.pointed)
        # Whoever serves has told it already; it is no reason not to keep house.
        except (SteelsightError, OSError):
            return
        if pointed is not None and pointed == self._pointed and pointed != self._told:
            detail = {"file": POINTER, "written_at": f"{EPOCH + timedelta(microseconds=pointed.at_ns // 1000):%FT%TZ}"}
            line = partial(append_activation, actor=f"os:{pointed.by}", version=pointed.version, detail=detail)
            if await self._record.write(line):
                log.info("activation_found", version=pointed.version, by=pointed.by)
            self._told = pointed
        self._pointed = pointed

    async def delete_images(self) -> None:
        """Delete images past their age or beyond their share of the archive, a few at a time."""
        record = self._record
        for policy in self._policies:
            while chosen := await asyncio.to_thread(self._expired, policy):
                await record.write(partial(retention.mark, chosen=chosen, at=now()))
                log.info("images_deleted", verdict=policy.verdict, images=len(chosen))
        while await record.write(partial(retention.purge, archive=record.archive, at=now())):
            pass

    async def count_images(self) -> None:
        """Tell the archive how much it holds, for the bound on that."""
        self._record.archive.used = await self._record.write(retention.used_bytes)

    async def sweep_next(self) -> None:
        """`sweep_orphans` in the next folder."""
        await self.sweep_orphans(next(self._folders))

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
