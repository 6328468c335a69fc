"""The model slot: which Inspector serves now, following the registry's active version without a restart.

A new version is loaded beside the one that serves, warmed, and swapped in by one assignment. If that fails the old
one goes on serving, and the failure is kept for `/readyz`.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import structlog

from app.errors import Refusal, ServiceCode
from app.metrics import Metrics
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.registry import Registry

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
    """One version in service at a time; read by requests, changed by `watch` alone."""

    def __init__(self, settings: Settings, metrics: Metrics, retry_s: float = RETRY_S) -> None:
        self.failure: Failure | None = None
        self._serving: Inspector | None = None
        self._registry = Registry(settings.models)
        self._load = partial(
            Inspector.load, engine=settings.engine, threads=settings.engine_threads, stride=settings.stride
        )
        self._metrics = metrics
        self._retry_s = retry_s
        self._retry_at = 0.0

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

    async def _swap(self, version: str) -> None:
        if self.failure is not None and self.failure.version != version:
            self.failure = None
        started = time.monotonic()
        try:
            loaded = await asyncio.to_thread(self._open, version)
        except Refusal as refusal:
            self._retry_at = time.monotonic() + self._retry_s
            self._fail(Failure(version, refusal.code, refusal.message), refusal)
            return
        self._metrics.model_swapped(self._serving, loaded)
        self._serving, self.failure = loaded, None
        log.info("model_serving", version=version, seconds=round(time.monotonic() - started, 3))

    def _open(self, version: str) -> Inspector:
        """Load and warm. Raises `Refusal` (model_unavailable)."""
        try:
            inspector = self._load(self._registry, version)
            inspector.warm()
            return inspector
        # A runtime refuses a file in its own words, which are none of ours to list: whatever it was, the version
        # before goes on serving, and the failure is counted, logged whole and shown.
        except Exception as error:
            reason = error.message if isinstance(error, SteelsightError) else f"{type(error).__name__}: {error}"
            raise Refusal(
                ServiceCode.MODEL_UNAVAILABLE, f"model version {version} cannot be served: {reason}"
            ) from error

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
