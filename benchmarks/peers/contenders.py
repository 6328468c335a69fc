"""Who is compared, and which settings of each are tried."""

import json
import os
import struct
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
# Past the most connections that are measured a larger batch cannot come together.
LARGEST_BATCH = 32
OURS = "Steelsight"


@dataclass(frozen=True)
class Setting:
    """One way to start a server: what a reader is told, and the environment that says it to the server."""

    label: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Contender:
    """One server.

    module: run with `python -m`. requirements: file of its environment, None for this project's own.
    distribution: whose version is reported. path and headers: of a request whose body is the tile's pixels.
    engine: of this project, which of its runtimes.
    probability: the body of an answer -> defect probability. note: why a setting was not tried.
    """

    name: str
    module: str
    requirements: str | None
    distribution: str | None
    path: str
    settings: tuple[Setting, ...]
    headers: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    probability: Callable[[bytes], float] = lambda body: float(json.loads(body)["defect_probability"])
    engine: str | None = None

    @property
    def ours(self) -> bool:
        """Whether this is the project itself."""
        return self.requirements is None

    def request(self, tile: bytes) -> bytes:
        """A whole HTTP request."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: benchmark", "Content-Type: application/octet-stream"]
        return "\r\n".join([*lines, *self.headers, f"Content-Length: {len(tile)}", "", ""]).encode() + tile


def contenders(models: Path, engines: list[str]) -> list[Contender]:
    """Steelsight with each of the engines, then the peers."""
    return [*(_ours(models, engine) for engine in engines), _pytriton(), _litserve(), _bentoml(), _mlserver(), _ray()]


def _ours(models: Path, engine: str) -> Contender:
    return Contender(
        name=f"{OURS}, {engine}",
        module="app",
        requirements=None,
        distribution=None,
        path="/v1/inspect?width=128&height=128&pixel_format=Mono8",
        settings=tuple(
            # The others keep no record either.
            Setting(
                told,
                {"STEELSIGHT_ENGINE": engine, "STEELSIGHT_WORKERS": str(workers), "STEELSIGHT_RECORD": "off"},
            )
            for told, workers in {"as installed": 1, f"{CORES} workers": CORES}.items()
        ),
        arguments=("serve", "--models", str(models)),
        engine=engine,
    )


def _sessions(processes: tuple[int, ...], more: Mapping[str, str], told: str = "") -> tuple[Setting, ...]:
    """With and without batches: single-threaded sessions, one a core, and one session with a thread a core.

    processes: among how many the single-threaded sessions are divided; where it is the number of cores, each
    process has one.
    """
    shapes = [(number, 1) for number in processes] + [(1, CORES)]
    return tuple(
        Setting(
            f"{_shape(number, threads)}, {'no batches' if batch == 1 else f'batches to {batch}'}{told}",
            {"PEER_PROCESSES": str(number), "PEER_THREADS": str(threads), "PEER_BATCH": str(batch), **more},
        )
        for number, threads in dict.fromkeys(shapes)
        for batch in (1, LARGEST_BATCH)
    )


def _shape(processes: int, threads: int) -> str:
    if threads > 1:
        return f"1 session of {threads} threads"
    where = f"in {processes} processes" if processes > 1 else "in 1 process"
    return f"{CORES} sessions of 1 thread {where}"


def _pytriton() -> Contender:
    # Triton's Python stub loads the shared Python library that it finds, which must be the one of its own environment.
    library = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")), "PEER_HTTP_THREADS": str(CORES)}
    return Contender(
        name="PyTriton",
        module="benchmarks.peers.pytriton_server",
        requirements="pytriton.txt",
        distribution="nvidia-pytriton",
        path="/v2/models/tile/infer",
        settings=_sessions((1,), library),
        # A body that is nothing but the model's only input.
        headers=("Inference-Header-Content-Length: 0",),
        probability=lambda body: float(struct.unpack("<f", body[-4:])[0]),
    )


def _litserve() -> Contender:
    queues = {"multiprocessing queue": "mp", "ZeroMQ": "zmq"}
    settings = [
        setting
        for told, queue in queues.items()
        for setting in _sessions((CORES,), {"PEER_QUEUE": queue, "PEER_HTTP_PROCESSES": "1"}, f", {told}")
    ]
    return Contender(
        name="LitServe",
        module="benchmarks.peers.litserve_server",
        requirements="litserve.txt",
        distribution="litserve",
        path="/predict",
        settings=tuple(settings),
    )


def _bentoml() -> Contender:
    return Contender(
        name="BentoML",
        module="benchmarks.peers.bentoml_server",
        requirements="bentoml.txt",
        distribution="bentoml",
        path="/predict",
        settings=_sessions((1, CORES), {"BENTOML_DO_NOT_TRACK": "True"}),
        probability=lambda body: float(json.loads(body)[0]),
    )


def _mlserver() -> Contender:
    # Its pool of processes is left out: a body would go through a queue as JSON, and custom handlers do not reach it.
    return Contender(
        name="MLServer",
        module="benchmarks.peers.mlserver_server",
        requirements="mlserver.txt",
        distribution="mlserver",
        path="/predict",
        settings=_sessions((1,), {}),
    )


def _ray() -> Contender:
    proxies = {"HAProxy": "haproxy", "Ray's proxy": "plain"}
    settings = [
        setting
        for told, ingress in proxies.items()
        for setting in _sessions(
            (1, CORES) if ingress == "haproxy" else (CORES,), {"PEER_INGRESS": ingress}, f", {told}"
        )
    ]
    return Contender(
        name="Ray Serve",
        module="benchmarks.peers.rayserve_server",
        requirements="rayserve.txt",
        distribution="ray",
        path="/predict",
        settings=tuple(settings),
    )


def python_of(venv: Path | None) -> str:
    """The interpreter of an environment; None is this one."""
    return sys.executable if venv is None else str(venv / "bin" / "python")
