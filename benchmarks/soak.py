"""A server for long under single tiles: memory, descriptors, threads and latency over time, and every answer checked.

    python -m benchmarks.soak [--models DIR] [--requests N] [--seconds S] [--connections N] [--record on|off]
                              [--workers N] [--picture FILE]

Ends with whichever comes first, N requests or S seconds. Every request has one of a thousand images, each of another
width and height and with a probability that was computed beforehand: an answer that names another size, or another
probability, is a crossed one. Exit code 1 where a bound is exceeded. A million requests take 10 minutes on two idle
cores without a record, and 14 with one.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import uvloop
from matplotlib import pyplot

from benchmarks.figures import keep_figures
from benchmarks.machine import Machine, measure
from benchmarks.serving import ROOT, Server, request_file, served
from model.inspector import Inspector
from model.registry import Registry, models_folder

IMAGES = 1000
# Probabilities depend on the company in a batch by rounding; the images' own are further apart where it matters.
ROUNDING = 2e-5
SAMPLE_S = 2.0
# Latencies are put together in so many windows of the run.
WINDOWS = 40
# Of the run; caches fill, pools grow to their size, and the C library takes what it keeps.
WARM_UP = 0.15
# Bounds, after the warm-up. Below so many requests growth is noise and pools still fill: it is told, not judged.
SLOPE_MB, JUDGED_REQUESTS = 1.0, 200_000
SPREAD_DESCRIPTORS, SPREAD_THREADS = 8, 2
DRIFT = 1.2


class Image(NamedTuple):
    """A request, and what its answer must hold."""

    request: bytes
    size: bytes
    probability: float


@dataclass
class Sample:
    """What the server had at one moment, all its processes together."""

    seconds: float
    requests: int
    resident_mb: float
    descriptors: int
    threads: int
    processes: int


@dataclass
class Seen:
    """Of all answers so far. latencies: (seconds since the start, seconds it took), of every answer."""

    left: int
    answered: int = 0
    refused: int = 0
    crossed: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)


def images_of(models: Path, folder: Path) -> list[Image]:
    """A thousand tiles, each of a size of its own, and what the active version says of them."""
    registry = Registry(models)
    inspector = Inspector.load(registry, registry.require_active(), "onnx", threads=1)
    side = inspector.fitting.tile
    rng = np.random.default_rng(0)
    sizes = [(height, width) for height in range(side - 31, side + 1) for width in range(side - 31, side + 1)]
    made = []
    for number, (height, width) in enumerate(sizes[:IMAGES]):
        grey = rng.normal(rng.uniform(60, 180), rng.uniform(5, 30), (height, width)).clip(0, 255).astype(np.uint8)
        query = f"?width={width}&height={height}&pixel_format=Mono8&camera_id=c{number % 8}"
        path = request_file(folder / "request", query, "application/octet-stream", grey.tobytes())
        found = inspector.inspect(grey)
        size = f'"image":{{"width":{width},"height":{height},"tiles":1,'.encode()
        made.append(Image(path.read_bytes(), size, found.defect_probability))
    return made


async def _connection(port: int, images: list[Image], start: int, until: float, began: float, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = start
    try:
        while seen.left > 0 and (sent := time.perf_counter()) < until:
            seen.left -= 1
            image = images[number % len(images)]
            # A step that is no divisor of their number: connections do not walk in one line.
            number += 7
            writer.write(image.request)
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            now = time.perf_counter()
            if not head.startswith(b"HTTP/1.1 200"):
                seen.refused += 1
                continue
            seen.answered += 1
            seen.at.append(now - began)
            seen.took.append(now - sent)
            _check(image, body, seen)
    finally:
        writer.close()


def _check(image: Image, body: bytes, seen: Seen) -> None:
    at = body.index(b'"defect_probability":') + 21
    probability = float(body[at : body.index(b",", at)])
    if image.size not in body or abs(probability - image.probability) > ROUNDING:
        seen.crossed.append(f"sent {image.size.decode()} with {image.probability:.6f}, received {body.decode()[:300]}")


def _watch(server: Server, began: float, seen: Seen, samples: list[Sample], over: threading.Event) -> None:
    """Look at the server's processes until the end."""
    top = psutil.Process(server.pid)
    while not over.wait(SAMPLE_S):
        processes = [top, *top.children(recursive=True)]
        resident = descriptors = threads = 0
        for each in processes:
            try:
                with each.oneshot():
                    resident += each.memory_info().rss
                    descriptors += each.num_fds()
                    threads += each.num_threads()
            except psutil.NoSuchProcess:
                continue
        samples.append(
            Sample(time.perf_counter() - began, seen.answered, resident / 1e6, descriptors, threads, len(processes))
        )


async def _soak(server: Server, images: list[Image], connections: int, seconds: float, seen: Seen) -> list[Sample]:
    samples: list[Sample] = []
    began, over = time.perf_counter(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, began, seen, samples, over))
    watcher.start()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                start = number * len(images) // connections
                group.create_task(_connection(server.port, images, start, began + seconds, began, seen))
    finally:
        over.set()
        watcher.join()
    return samples


@dataclass
class Result:
    """The run in figures. slope_mb: memory for each 100,000 requests, by least squares. drift: p99 of the last quarter
    of the windows over that of the first, by their medians.
    """

    requests: int
    seconds: float
    refused: int
    crossed: int
    slope_mb: float
    first_mb: float
    last_mb: float
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    processes: tuple[int, int]
    p50_ms: float
    p99_ms: float
    drift: float

    def faults(self) -> list[str]:
        """Bounds that are exceeded."""
        found = []
        if self.crossed:
            found.append(f"{self.crossed} crossed answers")
        if self.refused:
            found.append(f"{self.refused} requests refused")
        if self.requests < JUDGED_REQUESTS:
            return found
        if self.slope_mb > SLOPE_MB:
            found.append(f"memory grows by {self.slope_mb:.2f} MB for each 100,000 requests; at most {SLOPE_MB:g}")
        for what, (least, most), spread in (
            ("descriptors", self.descriptors, SPREAD_DESCRIPTORS),
            ("threads", self.threads, SPREAD_THREADS),
        ):
            if most - least > spread:
                found.append(f"{what} went from {least} to {most}; a spread of {spread} is allowed")
        if self.drift > DRIFT:
            found.append(f"p99 at the end is {self.drift:.2f} times that at the beginning; at most {DRIFT:g}")
        return found


def windows(seen: Seen, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle of each window in seconds, and p50 and p99 of its answers in ms."""
    at, took = np.array(seen.at), np.array(seen.took) * 1e3
    edges = np.linspace(0, seconds, WINDOWS + 1)
    parts = [took[(at >= low) & (at < high)] for low, high in pairwise(edges)]
    kept = [number for number, part in enumerate(parts) if len(part)]
    return (
        np.array([(edges[number] + edges[number + 1]) / 2 for number in kept]),
        np.array([np.quantile(parts[number], 0.5) for number in kept]),
        np.array([np.quantile(parts[number], 0.99) for number in kept]),
    )


def result(seen: Seen, samples: list[Sample]) -> Result:
    """The figures; of memory, descriptors and threads those after the warm-up."""
    seconds = samples[-1].seconds
    steady = [sample for sample in samples if sample.seconds >= WARM_UP * seconds]
    requests = np.array([sample.requests for sample in steady], float)
    resident = np.array([sample.resident_mb for sample in steady])
    slope = float(np.polyfit(requests, resident, 1)[0]) * 1e5 if len(set(requests)) > 1 else 0.0
    _, _, p99 = windows(seen, seconds)
    p99 = p99[int(WARM_UP * len(p99)) :]
    quarter = max(1, len(p99) // 4)
    took = np.array(seen.took) * 1e3

    def span(values: list[int]) -> tuple[int, int]:
        return min(values), max(values)

    return Result(
        requests=seen.answered,
        seconds=seconds,
        refused=seen.refused,
        crossed=len(seen.crossed),
        slope_mb=slope,
        first_mb=float(resident[0]),
        last_mb=float(resident[-1]),
        descriptors=span([sample.descriptors for sample in steady]),
        threads=span([sample.threads for sample in steady]),
        processes=span([sample.processes for sample in steady]),
        p50_ms=float(np.quantile(took, 0.5)),
        p99_ms=float(np.quantile(took, 0.99)),
        drift=float(np.median(p99[-quarter:]) / np.median(p99[:quarter])),
    )


def table(machine: Machine, found: Result, connections: int, record: str) -> str:
    """The figures as Markdown."""
    judged = "" if found.requests >= JUDGED_REQUESTS else f" (judged from {JUDGED_REQUESTS:,} requests on)"
    rows = [
        ("requests, each answer checked", f"{found.requests:,} in {found.seconds:,.0f} s", ""),
        ("crossed answers", f"{found.crossed}", "0"),
        ("refused", f"{found.refused}", "0"),
        ("memory for each 100,000 requests", f"{found.slope_mb:+.2f} MB{judged}", f"at most {SLOPE_MB:g} MB"),
        (
            "memory of all processes, after the warm-up and at the end",
            f"{found.first_mb:.0f}, {found.last_mb:.0f} MB",
            "",
        ),
        ("descriptors", "{} to {}".format(*found.descriptors), f"a spread of {SPREAD_DESCRIPTORS}"),
        ("threads", "{} to {}".format(*found.threads), f"a spread of {SPREAD_THREADS}"),
        ("processes", "{} to {}".format(*found.processes), ""),
        ("latency, p50 and p99", f"{found.p50_ms:.1f}, {found.p99_ms:.1f} ms", ""),
        ("p99 of the last quarter over that of the first", f"{found.drift:.2f}{judged}", f"at most {DRIFT:g}"),
    ]
    lines = [
        f"{machine.cores} cores of {machine.processor}; {connections} connections, record {record}; the load shares "
        "the machine.",
        "",
        "| | measured | bound |",
        "|---|---|---|",
        *(f"| {name} | {value} | {bound} |" for name, value, bound in rows),
    ]
    return "\n".join(lines)


def draw(path: Path, seen: Seen, samples: list[Sample]) -> None:
    """Memory, descriptors, threads and latency over the run."""
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6), layout="constrained")
    requests = [sample.requests for sample in samples]
    for axis, values, label in (
        (axes[0, 0], [sample.resident_mb for sample in samples], "memory, MB"),
        (axes[0, 1], [sample.descriptors for sample in samples], "descriptors"),
        (axes[1, 0], [sample.threads for sample in samples], "threads"),
    ):
        axis.plot(requests, values, linewidth=1)
        axis.set_ylim(0, max(values) * 1.15)
        axis.set_xlabel("requests")
        axis.set_ylabel(label)
    middle, p50, p99 = windows(seen, samples[-1].seconds)
    axes[1, 1].plot(middle, p99, linewidth=1, label="p99")
    axes[1, 1].plot(middle, p50, linewidth=1, label="p50")
    axes[1, 1].set_ylim(0, None)
    axes[1, 1].set_xlabel("seconds")
    axes[1, 1].set_ylabel("latency, ms")
    axes[1, 1].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure, print, draw, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=7200, metavar="S", help="at most (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=32, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--record", choices=["on", "off"], default="on", help="(default: %(default)s)")
    parser.add_argument("--workers", default="1", metavar="N", help="(default: %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the run as a PNG")
    arguments = parser.parse_args()
    machine = measure()
    with tempfile.TemporaryDirectory() as scratch:
        images = images_of(arguments.models, Path(scratch))
        first = Path(scratch) / "request"
        settings = {
            "STEELSIGHT_RECORD": arguments.record,
            "STEELSIGHT_ENGINE": "onnx",
            "STEELSIGHT_WORKERS": arguments.workers,
        }
        with served(ROOT, arguments.models, first, **settings) as server:
            seen = Seen(arguments.requests)
            samples = uvloop.run(_soak(server, images, arguments.connections, arguments.seconds, seen))
    if len(samples) < 2:
        raise SystemExit(f"the run was too short to be looked at: it needs some {3 * SAMPLE_S:g} s")
    found = result(seen, samples)
    print(table(machine, found, arguments.connections, arguments.record))
    for one in seen.crossed[:3]:
        print(f"crossed: {one}")
    if arguments.picture:
        draw(arguments.picture, seen, samples)
    told = {"machine": asdict(machine), "result": asdict(found), "samples": [asdict(sample) for sample in samples]}
    keep_figures(arguments.models, "soak", json.loads(json.dumps(told)))
    if faults := found.faults():
        raise SystemExit("exceeded: " + "; ".join(faults))


if __name__ == "__main__":
    main()
