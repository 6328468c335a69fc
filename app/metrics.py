"""What a server counts, for Prometheus. One object per application; several worker processes add up.

With more than one worker, `PROMETHEUS_MULTIPROC_DIR` names a folder in which each process keeps its own
numbers (see `app.process`), and whichever worker is asked answers for all.
"""

import os
import re
from collections import Counter as Tally
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import prometheus_client.multiprocess
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.replies import Stages
from app.requests import RequestRecord
from model.inspector import Inspection, Inspector

# From one tile on an idle machine to a 64 Mpx frame on a busy one.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Up to app.store.writer.GROUP.
GROUP_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# As many as one thread judges together, at most: app.batching.BATCH_FRAMES.
BATCH_SIZES = (1, 2, 4, 8)

# A camera's id becomes a label only if it is one that a plant would give, and among the first to come: a client that
# makes ids up must not fill the memory of whoever scrapes this.
SANE_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,31}")
MAX_CAMERAS = 64
OTHER_CAMERA = "other"
NO_CAMERA = "none"

# These parts of the library have no annotations.
UNANNOTATED: Any = prometheus_client

# Else every counter has a second series, the time of its first count, that nobody reads.
UNANNOTATED.disable_created_metrics()


class Drop(StrEnum):
    """Why an inspection that was asked for was not begun."""

    OVERLOADED = "overloaded"
    DEADLINE = "deadline"
    CLIENT_LEFT = "client_left"


class Metrics:
    """Labels have few values, of our own making: of a client's words only sane camera ids are one, and few of them."""

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
        self.arriving = Gauge(
            "steelsight_arriving",
            "Requests whose body is on its way.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.frames = Counter("steelsight_frames", "Frames inspected.", registry=registry)
        self.tiles = Counter("steelsight_tiles", "Tiles scored.", registry=registry)
        self.megapixels = Counter("steelsight_megapixels", "Megapixels inspected.", registry=registry)
        self.events = Counter("steelsight_events", "Events found.", registry=registry)
        self.verdicts = Counter(
            "steelsight_verdicts", "Frames by verdict and camera.", ["verdict", "camera"], registry=registry
        )
        self.queue_depth = Gauge(
            "steelsight_queue_depth",
            "Frames that wait for a thread.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch_frames = Histogram(
            "steelsight_batch_frames", "Frames inspected together.", registry=registry, buckets=BATCH_SIZES
        )
        self.drops = Counter(
            "steelsight_dropped",
            "Inspections not begun: no place free, past the deadline, or the client left.",
            ["reason"],
            registry=registry,
        )
        # Each reason stands at 0 from the start: Prometheus' rate() sees nothing in a series whose first sample is
        # the count of a burst.
        self._drops = {reason: self.drops.labels(reason.value) for reason in Drop}
        self.decoders_lost = Counter(
            "steelsight_decoders_lost", "Decoding processes that died of a file, or took too long.", registry=registry
        )
        self._cameras: set[str] = set()
        self.stage_seconds = Histogram(
            "steelsight_stage_seconds",
            "Time of a frame in `queue` (for a thread and for company), `decode`, `inference` (its batch), `store` "
            "(until its row is committed) and `total`.",
            ["stage"],
            registry=registry,
            buckets=SECONDS,
        )
        self._stages = [self.stage_seconds.labels(stage) for stage in Stages._fields]
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

        self.record_seconds = Histogram(
            "steelsight_record_seconds",
            "A group's images written and its rows committed.",
            registry=registry,
            buckets=SECONDS,
        )
        self.record_group = Histogram(
            "steelsight_record_group", "Rows committed together.", registry=registry, buckets=GROUP_SIZES
        )
        self.record_failures = Counter(
            "steelsight_record_failures", "Groups that could not be committed.", registry=registry
        )
        self.images_not_kept = Counter(
            "steelsight_images_not_kept", "Images that the archive could not keep.", registry=registry
        )
        self.orphans_swept = Counter(
            "steelsight_orphans_swept", "Image files that no inspection named, removed.", registry=registry
        )
        self.refused_frames_lost = Counter(
            "steelsight_refused_frames_lost",
            "Refused frames that the record does not name: too many waited to be written.",
            registry=registry,
        )

        self.shadow_verdicts = Counter(
            "steelsight_shadow_verdicts",
            "Frames that a shadow scored too, by both verdicts.",
            ["live", "shadow"],
            registry=registry,
        )
        self.shadow_dropped = Counter(
            "steelsight_shadow_dropped", "Frames not given to the shadow: no capacity to spare.", registry=registry
        )
        self.shadow_failures = Counter(
            "steelsight_shadow_failures", "Frames that the shadow could not score.", registry=registry
        )
        self.shadow_share = Gauge(
            "steelsight_shadow_share",
            "Share of the frames that a version shadows; 0 for those that do no longer.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def request_ended(self, record: RequestRecord, route: str) -> None:
        """Count one request."""
        self.requests.labels(route, str(record.status)).inc()
        self.request_seconds.labels(route).observe(record.elapsed_ms() / 1000)
        if record.code is not None:
            self.refusals.labels(record.code).inc()

    def turned_away(self, route: str, seconds: float) -> None:
        """Count one frame that found no place and was answered from its head."""
        self.requests.labels(route, "503").inc()
        self.request_seconds.labels(route).observe(seconds)
        self.refusals.labels(Drop.OVERLOADED.value).inc()
        self.dropped(Drop.OVERLOADED)

    def batch_inspected(self, inspections: Sequence[Inspection], cameras: Sequence[str | None]) -> None:
        """Count frames that were judged together, with the `camera_id` each came with."""
        self.batch_frames.observe(len(inspections))
        self.frames.inc(len(inspections))
        self.tiles.inc(sum(each.scores.size for each in inspections))
        self.megapixels.inc(sum(each.width * each.height for each in inspections) / 1e6)
        self.events.inc(sum(len(each.events) for each in inspections))
        verdicts = Tally(
            (each.verdict.value, self._camera(camera)) for each, camera in zip(inspections, cameras, strict=True)
        )
        for (verdict, camera), count in verdicts.items():
            self.verdicts.labels(verdict, camera).inc(count)

    def frame_timed(self, stages: Stages) -> None:
        """Count one frame's time in each stage."""
        for histogram, seconds in zip(self._stages, stages, strict=True):
            histogram.observe(seconds)

    def dropped(self, reason: Drop) -> None:
        """Count one inspection that was not begun."""
        self._drops[reason].inc()

    def _camera(self, camera: str | None) -> str:
        if camera is None:
            return NO_CAMERA
        if camera not in self._cameras:
            if len(self._cameras) >= MAX_CAMERAS or not SANE_CAMERA.fullmatch(camera):
                return OTHER_CAMERA
            # Two threads at once may make it one or two more: the bound is on memory, not a promise.
            self._cameras.add(camera)
        return camera

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
