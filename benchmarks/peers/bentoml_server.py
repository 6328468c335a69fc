"""BentoML: an input of its own kind takes the body whole, because its own kinds of array come as JSON only."""

import os
import sys
from typing import Any, Self

import bentoml
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from starlette.requests import Request

from benchmarks.peers.scorer import TILE, Scorer, options

# BentoML takes these from what is imported from here.
from _bentoml_sdk.io_models import IODescriptor  # isort: skip

settings = options()


class Tile(IODescriptor):
    """One tile uint8 (1, 128, 128, 1) from a body of 128 x 128 bytes."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    tiles: Any

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Self:
        """Instead of a parser."""
        tile = np.frombuffer(await request.body(), np.uint8).reshape(1, TILE, TILE, 1)
        return cls.model_construct(tiles=tile)


BATCHING: dict[str, Any] = {"batchable": True, "batch_dim": (0, 0), "max_batch_size": max(settings.batch, 2)}


@bentoml.service(
    workers=settings.processes,
    threads=settings.callers,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Inspection:
    """Each worker process has its own."""

    def __init__(self) -> None:
        self._scorer = Scorer(settings.model, settings.threads)

    # BentoML calls an ordinary function in a thread, and a coroutine where the request came in.
    if settings.inline:

        @bentoml.api(route="/predict", input_spec=Tile)
        async def predict(self, tiles: npt.NDArray[np.uint8]) -> list[float]:
            """The probability of the only tile."""
            return self._scorer.tiles(tiles).tolist()

    else:

        @bentoml.api(route="/predict", input_spec=Tile, **(BATCHING if settings.batch > 1 else {}))
        def predict(self, tiles: npt.NDArray[np.uint8]) -> list[float]:
            """The probabilities of the tiles of one batch, or of the only one."""
            return self._scorer.tiles(tiles).tolist()


if __name__ == "__main__":
    serve = ["-m", "bentoml", "serve", "benchmarks.peers.bentoml_server:Inspection"]
    os.execv(sys.executable, [sys.executable, *serve, "--host", "127.0.0.1", "--port", str(settings.port)])
