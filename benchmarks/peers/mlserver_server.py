"""MLServer: a custom handler takes the body whole; the protocol's JSON would carry it as base64.

The handler asks `predict` of the same model, so that MLServer's adaptive batching works as for any other request.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from fastapi import Request, Response
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.context import model_context
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput

from benchmarks.peers.scorer import Scorer, options

# Past this a batch is not waited for. It must be above 0, or MLServer does not batch.
BATCH_SECONDS = 1e-4


class Tile(MLModel):
    """In the server's own process: a pool of its processes would get each body through a queue."""

    async def load(self) -> bool:
        """Called by MLServer at its start."""
        settings = options()
        self._scorer = Scorer(settings.model, settings.threads)
        self._threads = ThreadPoolExecutor(settings.callers)
        return True

    @custom_handler(rest_path="/predict")
    async def raw(self, request: Request) -> Response:
        """One tile of 128 x 128 bytes."""
        body = await request.body()
        tile = RequestInput.model_construct(name="tile", shape=[1, len(body)], datatype="BYTES", data=body)
        # As MLServer's own endpoints do: its batching counts requests by model, and does not know it otherwise.
        with model_context(self.settings):
            answer = await self.predict(InferenceRequest.model_construct(inputs=[tile]))
        (probability,) = _data(answer.outputs[0])
        return Response(b'{"defect_probability":%r}' % probability, media_type="application/json")

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The tiles of one batch, which MLServer has put behind each other."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._scorer.bodies, [_data(payload.inputs[0])])
        output = ResponseOutput.model_construct(
            name="defect_probability", shape=[len(found), 1], datatype="FP64", data=found
        )
        return InferenceResponse.model_construct(model_name=self.name, outputs=[output])


def _data(part: RequestInput | ResponseOutput) -> Any:
    """What MLServer has put together is wrapped, what is given to it is not."""
    return getattr(part.data, "root", part.data)


async def main() -> None:
    """One model; MLServer always starts its gRPC server too."""
    settings = options()
    server = MLServer(
        Settings(
            debug=False,
            host="127.0.0.1",
            http_port=settings.port,
            grpc_port=int(os.environ["PEER_SPARE_PORT"]),
            parallel_workers=0,
            metrics_endpoint=None,
            gzip_enabled=False,
            load_models_at_startup=False,
        )
    )
    model = ModelSettings(
        name="tile",
        implementation=Tile,
        max_batch_size=settings.batch,
        max_batch_time=BATCH_SECONDS if settings.batch > 1 else 0,
    )
    await server.start([model])


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
