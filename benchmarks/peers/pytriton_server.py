"""PyTriton: Triton's own HTTP server takes a tile as a raw binary tensor and hands batches to Python functions."""

import os

import numpy as np
import numpy.typing as npt
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.scorer import TILE, Scorer, options


def main() -> None:
    """One function for each session: Triton gives each of them one batch at a time."""
    settings = options()

    def instance():  # type: ignore[no-untyped-def]  # what `bind` takes has no name
        scorer = Scorer(settings.model, settings.threads)

        @batch
        def score(tile: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
            return [scorer.tiles(tile).astype(np.float32)[:, np.newaxis]]

        return score

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=settings.port,
        http_thread_count=int(os.environ["PEER_HTTP_THREADS"]),
        allow_grpc=False,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="tile",
            infer_func=[instance() for _ in range(settings.callers)],
            inputs=[Tensor(name="tile", dtype=np.uint8, shape=(TILE, TILE, 1))],
            outputs=[Tensor(name="defect_probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(
                batching=True,
                max_batch_size=settings.batch,
                # No delay: what waits is taken together.
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
            ),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
