"""The model slot: which Inspector serves now, following the registry's active version without a restart.

A new version is loaded beside the one that serves, warmed, and swapped in by one assignment. If that fails the old
one goes on serving, and the failure is kept for `/readyz`. A change asked of this worker moves the registry's pointer
only after that; the other workers see the pointer move.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from app.loading import Loader
from app.metrics import Metrics
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.registry import Change, Prove

POLL_S = 1.0
# A version that failed is tried again without anyone asking: a full disk or an absent mount may have been mended.
RETRY_S = 30.0

log = structlog.get_logger("steelsight.model")


@dataclass(frozen=True)
class Failure:
    """Why the active version does not serve. version is None if it could not even be named."""

    version: str | None
    code: ErrorCode | ServiceCode
    message: str


class ModelSlot:
    """One version in service at a time; read by requests, changed on the event loop alone."""

    def __init__(self, settings: Settings, metrics: Metrics, retry_s: float = RETRY_S) -> None:
        self.failure: Failure | None = None
        self.loader = Loader(settings)
        self._serving: Inspector | None = None
        self._registry = self.loader.registry
        self._metrics = metrics
        self._retry_s = retry_s
        self._retry_at = 0.0
        self._changing = asyncio.Lock()

    @property
    def serving(self) -> Inspector | None:
        """The Inspector that serves, if one does."""
        return self._serving

    def require(self) -> Inspector:
        """The Inspector that serves. Raises `Refusal` (model_loading, no_active_model, model_unavailable)."""
        if self._serving is not None:
            return self._serving
        if self.failure is None:
            raise Refusal(ServiceCode.MODEL_LOADING, "the model is being loaded; try again in a moment")
        raise Refusal(self.failure.code, self.failure.message)

    async def watch(self) -> None:
        """Follow the active version until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_S)

    async def refresh(self) -> None:
        """Look once at which version is active, and serve it if it is another one."""
        async with self._changing:
            await self.loader.tidy()
            try:
                wanted = await asyncio.to_thread(self._registry.require_active)
            except SteelsightError as error:
                missing = error.code is ErrorCode.NO_ACTIVE_MODEL
                self._fail(Failure(None, error.code if missing else ServiceCode.MODEL_UNAVAILABLE, error.message))
                return
            if self._serving is not None and self._serving.version == wanted:
                self.failure = None
            elif self.failure is None or self.failure.version != wanted or time.monotonic() >= self._retry_at:
                await self._swap(wanted)

    async def activate(self, version: str) -> Change:
        """Serve a version and then make it the active one.

        Raises `SteelsightError` (model_unknown, artifact_invalid, engine_unavailable) or `Refusal`
        (model_unavailable: the pointer cannot be written), and changes nothing then.
        """
        return await self._change(partial(self._registry.activate, version))

    async def rollback(self) -> Change:
        """Serve the version before the active one, as `activate` does. Raises also `SteelsightError`
        (no_previous_model).
        """
        return await self._change(self._registry.rollback)

    def close(self) -> None:
        """Load nothing more."""
        self.loader.close()

    async def _change(self, move: Callable[[Prove], Change]) -> Change:
        async with self._changing:
            started = time.monotonic()
            try:
                change, opened = await self.loader.run(self._moved, move)
            except OSError as error:
                raise Refusal(
                    ServiceCode.MODEL_UNAVAILABLE,
                    f"{self._registry.models} cannot be written ({error.strerror}); the active version stays",
                ) from error
            self._serve(opened, started)
        return change

    def _moved(self, move: Callable[[Prove], Change]) -> tuple[Change, Inspector]:
        """The pointer moved, and the Inspector of the version that it moved to: opened first."""
        opened: list[Inspector] = []

        def prove(folder: Path) -> None:
            if self._serving is not None and self._serving.version == folder.name:
                self._registry.verified(folder.name)
                opened.append(self._serving)
            else:
                opened.append(self.loader.open(folder.name))

        return move(prove), opened.pop()

    async def _swap(self, version: str) -> None:
        if self.failure is not None and self.failure.version != version:
            self.failure = None
        started = time.monotonic()
        try:
            loaded = await self.loader.run(self.loader.open, version)
        except SteelsightError as error:
            self._retry_at = time.monotonic() + self._retry_s
            reason = f"model version {version} cannot be served: {error.message}"
            self._fail(Failure(version, ServiceCode.MODEL_UNAVAILABLE, reason), error)
            return
        self._serve(loaded, started)

    def _serve(self, loaded: Inspector, started: float) -> None:
        """From here on `loaded` serves; the one before is let go with its last request."""
        if loaded is not self._serving:
            self._metrics.model_swapped(self._serving, loaded)
            self.loader.let_go()
            log.info("model_serving", version=loaded.version, seconds=round(time.monotonic() - started, 3))
        self._serving, self.failure = loaded, None

    def _fail(self, failure: Failure, error: Exception | None = None) -> None:
        """Keep the failure; log and count it once, not at every look."""
        if error is None and failure == self.failure:
            return
        self.failure = failure
        if failure.code is ErrorCode.NO_ACTIVE_MODEL:
            log.warning("no_active_model", reason=failure.message)
            return
        self._metrics.model_load_failures.inc()
        log.error("model_load_failed", version=failure.version, reason=failure.message, exc_info=error)
