"""What a server counts, for Prometheus. One object per application; several worker processes add up.

With more than one worker, `PROMETHEUS_MULTIPROC_DIR` names a folder in which each process keeps its own
numbers (see `app.process`), and whichever worker is asked answers for all.
"""

import os
from pathlib import Path
from typing import Any

import prometheus_client.multiprocess
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.requests import RequestRecord
from model.inspector import Inspection, Inspector

# From one tile on an idle machine to a 64 Mpx frame on a busy one.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# These parts of the library have no annotations.
UNANNOTATED: Any = prometheus_client

# Else every counter has a second series, the time of its first count, that nobody reads.
UNANNOTATED.disable_created_metrics()


class Metrics:
    """Labels have few values, all of our own making: a client's words (camera, coil, path) are never a label."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "steelsight_requests",
            "Requests answered; 499 is a client that left.",
            ["route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "steelsight_request_seconds", "From headers to reply.", ["route"], registry=registry, buckets=SECONDS
        )
        self.refusals = Counter("steelsight_refusals", "Problem documents sent.", ["code"], registry=registry)
        self.in_flight = Gauge(
            "steelsight_in_flight", "Inspections in progress.", registry=registry, multiprocess_mode="livesum"
        )
        self.frames = Counter("steelsight_frames", "Frames inspected.", registry=registry)
        self.tiles = Counter("steelsight_tiles", "Tiles scored.", registry=registry)
        self.megapixels = Counter("steelsight_megapixels", "Megapixels inspected.", registry=registry)
        self.verdicts = Counter("steelsight_verdicts", "Frames by verdict.", ["verdict"], registry=registry)
        self.stage_seconds = Histogram(
            "steelsight_stage_seconds",
            "Time of a frame in `decode`, `queue` (waiting for a thread) and `inference`.",
            ["stage"],
            registry=registry,
            buckets=SECONDS,
        )
        self.model_info = Gauge(
            "steelsight_model_info",
            "1 for the version that serves, 0 for those before it.",
            ["version", "engine"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.model_load_failures = Counter(
            "steelsight_model_load_failures", "Failed attempts to serve the active version.", registry=registry
        )

    def request_ended(self, record: RequestRecord, route: str) -> None:
        """Count one request."""
        self.requests.labels(route, str(record.status)).inc()
        self.request_seconds.labels(route).observe(record.elapsed_ms() / 1000)
        if record.code is not None:
            self.refusals.labels(record.code).inc()

    def frame_inspected(self, inspection: Inspection, stages_ms: dict[str, float]) -> None:
        """Count one frame that got a verdict."""
        self.frames.inc()
        self.tiles.inc(inspection.scores.size)
        self.megapixels.inc(inspection.width * inspection.height / 1e6)
        self.verdicts.labels(inspection.verdict.value).inc()
        for stage, milliseconds in stages_ms.items():
            self.stage_seconds.labels(stage).observe(milliseconds / 1000)

    def model_swapped(self, before: Inspector | None, now: Inspector) -> None:
        """Name the version that serves. A label cannot be removed across processes, so the old one drops to 0."""
        if before is not None:
            self.model_info.labels(before.version, before.engine.name).set(0)
        self.model_info.labels(now.version, now.engine.name).set(1)

    def exposition(self) -> bytes:
        """Everything counted, in Prometheus' text format: by this process, or by all workers if there are several."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        _forget_dead_workers(Path(folder))
        everyone = CollectorRegistry()
        UNANNOTATED.multiprocess.MultiProcessCollector(everyone, folder)
        return generate_latest(everyone)


def _forget_dead_workers(folder: Path) -> None:
    """A killed worker's gauges would stay in the sum; its counters should."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            UNANNOTATED.multiprocess.mark_process_dead(pid, str(folder))
