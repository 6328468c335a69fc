"""LitServe: the body is taken whole by a dependency, so that nothing parses it, and goes to the workers as bytes."""

import os
from typing import Annotated

import litserve
from fastapi import Depends, Request

from benchmarks.peers.scorer import Options, Scorer, options


async def _body(request: Request) -> bytes:
    return await request.body()


class TileAPI(litserve.LitAPI):
    """One worker: bytes in, a JSON object out, one at a time or in batches."""

    def __init__(self, settings: Options) -> None:
        # A timeout of 0 takes what is already waiting, and waits for nothing.
        super().__init__(max_batch_size=settings.batch, batch_timeout=0, api_path="/predict")
        self._settings = settings

    def setup(self, device: str) -> None:
        """In the worker's process."""
        self._scorer = Scorer(self._settings.model, self._settings.threads)

    def decode_request(self, request: Annotated[bytes, Depends(_body)]) -> bytes:
        """The annotation is what LitServe gives to FastAPI."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Left as they came."""
        return inputs

    def unbatch(self, output: list[float]) -> list[float]:
        """Left as they came."""
        return output

    def predict(self, x: bytes | list[bytes]) -> float | list[float]:
        """A list where batching is on."""
        return self._scorer.bodies(x) if isinstance(x, list) else self._scorer.bodies([x])[0]

    def encode_response(self, output: float) -> dict[str, float]:
        """One answer."""
        return {"defect_probability": output}


if __name__ == "__main__":
    settings = options()
    server = litserve.LitServer(
        TileAPI(settings),
        accelerator="cpu",
        workers_per_device=settings.processes,
        fast_queue=os.environ["PEER_QUEUE"] == "zmq",
        track_requests=False,
    )
    server.run(
        host="127.0.0.1",
        port=settings.port,
        num_api_servers=int(os.environ["PEER_HTTP_PROCESSES"]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
