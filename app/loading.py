"""Opening model versions: one after another, in a thread of their own, away from the event loop and the inspections.

Hashing and the runtimes' work let go of Python's lock, so that frames are judged meanwhile. Before this process opens
a version another one has, which can do no harm (`model.trial`): what would kill or corrupt whoever opens it is refused.
"""

import asyncio
import ctypes
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

import structlog

from app.settings import Settings
from model import precision
from model.artifact import manifest_bytes
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.registry import Registry
from model.signing import public_keys
from model.trial import process as trial

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Versions that have passed here already: the SHA-256 of a manifest names every byte of one, and the rest how it is
# opened. Returning to one of them costs no second trial; a restart does.
_passed: set[tuple[str, str, int, int | None]] = set()

log = structlog.get_logger("steelsight.model")


class Loader:
    """Opens versions as the settings say. One thread: two versions never load at the same time in one worker."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings.models, public_keys(settings.model_public_keys))
        self._settings = settings
        self._load = partial(
            Inspector.load,
            self.registry,
            engine=settings.engine,
            threads=settings.engine_threads,
            stride=settings.stride,
            limits=settings.limits,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._let_go = False

    async def run(
        self, work: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Do some work on models or their files in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))

    def open(self, version: str) -> Inspector:
        """Verify a version, try it, open and warm it; to be called in the thread.

        Raises `SteelsightError` (model_unknown, artifact_invalid, engine_unavailable).
        """
        try:
            self._try(version)
            inspector = self._load(version)
            inspector.warm()
            return inspector
        except SteelsightError:
            raise
        # A runtime refuses a file in its own words, which are none of ours to list: whatever it was, nothing that
        # serves is touched, and the caller logs or answers it.
        except Exception as error:
            raise SteelsightError(
                ErrorCode.ARTIFACT_INVALID,
                f"version {version}: {type(error).__name__}: {error}",
            ) from error

    def _try(self, version: str) -> None:
        """Let another process open it first, unless it has. Raises `SteelsightError`."""
        settings, folder = self._settings, self.registry.folder(version)
        engine = precision.chosen(settings.engine, self.registry.manifest(version))
        digest = hashlib.sha256(manifest_bytes(folder, self.registry.keys)).hexdigest()
        opened = (digest, engine, settings.engine_threads, settings.stride)
        if opened in _passed:
            return
        found = trial.require(self.registry, version, engine, threads=settings.engine_threads, stride=settings.stride)
        _passed.add(opened)
        log.info(
            "model_tried",
            version=version,
            seconds=round(found.seconds, 3),
            confined=list(found.confined),
            scores="as recorded" if found.known else "none recorded: published by an earlier release",
        )

    def let_go(self) -> None:
        """A version is no longer needed: when its last frame is done, its memory is to return."""
        self._let_go = True

    async def tidy(self) -> None:
        """Return the memory of versions let go, if there were any since the last time."""
        if self._let_go:
            self._let_go = False
            await self.run(_return_freed_memory)

    def close(self) -> None:
        """Let the thread go; what is running runs to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _return_freed_memory() -> None:
    """glibc keeps what was freed for later: after a swap that was measured to be up to 60 MB, at random."""
    with suppress(AttributeError):  # another C library may have no such function
        ctypes.CDLL(None).malloc_trim(0)
