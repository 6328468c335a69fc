"""Ray Serve: a replica a process; the HTTP proxy, or HAProxy before the replicas themselves, as PEER_INGRESS says."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

INGRESS = os.environ["PEER_INGRESS"]
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Otherwise it leaves a token in the home folder.
os.environ["RAY_AUTH_MODE"] = "disabled"
# On a busy machine its proxy is otherwise taken for dead while it still starts.
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
os.environ["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"] = "60"
# Ray Serve reads these when it is imported. It names them itself as its settings for throughput.
if INGRESS != "plain":
    os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"
    os.environ["RAY_SERVE_ENABLE_DIRECT_INGRESS"] = "1" if INGRESS == "haproxy" else "0"
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1" if INGRESS == "haproxy" else "0"

import asyncio  # noqa: E402

import ray  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.config import HTTPOptions  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse  # noqa: E402

from benchmarks.peers.scorer import Scorer, options  # noqa: E402

settings = options()


@serve.deployment(
    num_replicas=settings.processes,
    max_ongoing_requests=128,
    # No share of a core is set aside: the replicas, the proxy and the controller share them all.
    ray_actor_options={"num_cpus": 0},
    logging_config={"enable_access_log": False},
)
class Tile:
    """One replica."""

    def __init__(self) -> None:
        self._scorer = Scorer(settings.model, settings.threads)
        self._threads = ThreadPoolExecutor(settings.callers)

    @serve.batch(max_batch_size=settings.batch, batch_wait_timeout_s=0, max_concurrent_batches=settings.callers)
    async def together(self, bodies: list[bytes]) -> list[float]:
        """What waits is taken together."""
        return await self._score(bodies)

    async def _score(self, bodies: list[bytes]) -> list[float]:
        if settings.inline:
            return self._scorer.bodies(bodies)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._scorer.bodies, bodies)

    async def __call__(self, request: Request) -> JSONResponse:
        """One tile of 128 x 128 bytes."""
        body = await request.body()
        probability = await self.together(body) if settings.batch > 1 else (await self._score([body]))[0]
        return JSONResponse({"defect_probability": probability})


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=len(os.sched_getaffinity(0)))
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=settings.port, access_log=False))
    serve.run(Tile.bind(), route_prefix="/predict")
    stop = threading.Event()
    # Ray has put a handler of its own here, after which its other processes would go on.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
