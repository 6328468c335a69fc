"""Frames of the record scored anew, by the version that judged them: for a person who looks, never for the line."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from app.refusals import Refusal, ServiceCode
from app.serving import ModelSlot
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector

T = TypeVar("T")

# Versions kept loaded beside the one that serves; each takes tens of megabytes. One looks at frames of the version
# before, and compares.
KEPT_VERSIONS = 2
# Who leafs through frames leaves requests behind that nobody waits for any more; each may take a second.
MOST_WAITING = 16


class Rescoring:
    """One frame at a time in each worker: the cores belong to the line."""

    def __init__(self, slot: ModelSlot) -> None:
        self._slot = slot
        self._kept: OrderedDict[str, Inspector] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def run(self, version: str, work: Callable[[Inspector], T]) -> T:
        """What `work`, done in a thread, makes of a frame with this version.

        Raises what it raises, `Refusal` (overloaded; model_unknown, artifact_invalid, engine_unavailable: the version
        cannot be loaded any more).
        """
        if self._waiting >= MOST_WAITING:
            raise Refusal(
                ServiceCode.OVERLOADED, f"{self._waiting} frames wait to be scored anew; try again in a moment"
            )
        self._waiting += 1
        try:
            async with self._turn:
                inspector = await self._inspector(version)
                return await asyncio.to_thread(work, inspector)
        finally:
            self._waiting -= 1

    def forget(self) -> None:
        """Let the versions go that are kept."""
        self._kept.clear()
        self._slot.loader.let_go()

    async def _inspector(self, version: str) -> Inspector:
        serving = self._slot.serving
        if serving is not None and serving.version == version:
            return serving
        if version not in self._kept:
            loader = self._slot.loader
            try:
                self._kept[version] = await loader.run(loader.open, version)
            except SteelsightError as error:
                raise _gone(version, error) from error
            if len(self._kept) > KEPT_VERSIONS:
                self._kept.popitem(last=False)
                loader.let_go()
        self._kept.move_to_end(version)
        return self._kept[version]


def _gone(version: str, error: SteelsightError) -> Refusal:
    if error.code is not ErrorCode.MODEL_UNKNOWN:
        return Refusal(
            error.code, f"model version {version}, which judged the frame, cannot be loaded: {error.message}"
        )
    return Refusal(
        error.code,
        f"model version {version}, which judged the frame, is not in the registry any more, and no other may speak for "
        "it; put its folder back to have the frame scored anew",
    )
