"""A plant's record, as many inspections as wanted, written straight into a database: what a strip mill leaves behind.

Four cameras, two on either side, over coils of 6,000 to 32,800 frames in twenty days; of the frames a few percent are
called, with one to four events each. Frames are lost or refused, cameras stop, some frames come out of order; a few
thousand are reviewed, and a shadow differs here and there. Three coils are hard on whoever reads them:

- `LARGEST` has the most frames, and on top-1 the mark of a roll of 600 mm;
- `WORST` has events on almost every third frame;
- `STUTTERING` has a camera that loses every fifth frame: as many gaps.

Every request has an id that is random all over, which costs a database more than one that counts.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sqlalchemy import Connection, Table, insert, select

from app.archive import Picture, open_archive
from app.store.database import Database
from app.store.numbers import first_number_at
from app.store.schema import (
    EPOCH,
    coils,
    differences,
    events,
    images,
    inspections,
    models,
    outbox,
    refused_frames,
    reviews,
)

Row = dict[str, Any]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LARGEST, WORST, STUTTERING = "K-largest", "K-worst", "K-stuttering"
# id, side, across_mm.
CAMERAS = (("top-1", "top", 0.0), ("top-2", "top", 620.0), ("bottom-1", "bottom", 0.0), ("bottom-2", "bottom", 620.0))
WIDTH_PX, HEIGHT_PX, MM_PER_PIXEL, TILE_PX = 1280, 512, 0.5, 128
HEIGHT_MM = HEIGHT_PX * MM_PER_PIXEL
STRIP_MM = 1260.0
ROLL_MM = 600.0
# Frames of one camera, a million inspections in all.
LARGEST_FRAMES, LEAST_FRAMES = 8_200, 1_500
DAYS = 20
CLASSES = ("scale", "scratch", "inclusion", "pit", "patch", "crack", "blister")
SHARES = (0.40, 0.25, 0.15, 0.10, 0.07, 0.0295, 0.0005)
MARK = "roll mark"
CODES = ("overloaded", "deadline_exceeded", "unsupported_image")
SAMPLE_OK, SAMPLE_CALLED = 0.01, 0.1
# The newest called frames whose pictures are in the archive, too.
PICTURES = 200
PICTURE_BYTES = 90_000
TAG = 731

PLANT_FILE = (
    "".join(f'[[camera]]\nid = "{name}"\nside = "{side}"\nacross_mm = {across}\n\n' for name, side, across in CAMERAS)
    + f'[[roll]]\nname = "work roll, stand 4"\ndiameter_mm = {ROLL_MM}\n'
)


@dataclass(frozen=True)
class Version:
    """A model version as frames were judged by it."""

    version: str
    review_threshold: float
    defect_threshold: float


@dataclass(frozen=True)
class _Coil:
    """What is decided of a coil before its frames. frames: of each camera; called, reviewed: shares of frames."""

    coil_id: str
    frames: int
    called: float
    speed_mm_s: float
    reviewed: float


def write_plant(
    database: Database, archive: Path, total: int, until: datetime, serving: Version, seed: int = 0
) -> None:
    """Fill a migrated, empty database with so many inspections, the last one received at `until`.

    archive: the folder where the newest called frames' pictures go. serving: the version of the last third.
    """
    rng = np.random.default_rng(seed)
    versions = [Version("2026.1", 0.2, 0.6), Version("2026.2", 0.25, 0.65), serving]
    began = until - timedelta(days=DAYS)
    with database.writing() as connection:
        steps = [{**vars(each), "first_served_at": began} for each in versions]
        connection.execute(insert(models), steps)
    planned = _coils(rng, total)
    every = timedelta(days=DAYS) / len(planned)
    counts = np.zeros(len(CAMERAS), np.int64)
    left = total
    for place, coil in enumerate(planned):
        model = place * len(versions) // len(planned)
        last = place == len(planned) - 1
        # Of what the cameras take a few percent is lost.
        frames = left // len(CAMERAS) * 11 // 10 + 10 if last else coil.frames
        ended = until - (len(planned) - 1 - place) * every
        rows = _Rows(rng, replace(coil, frames=frames), model + 1, versions[model], counts)
        with database.writing() as connection:
            left -= rows.write(connection, left, ended, closed=not last)
    assert left == 0
    _keep_pictures(database, archive, rng)


def _coils(rng: np.random.Generator, total: int) -> list[_Coil]:
    """Coils that together have almost as many frames as are wanted. The last one, still on the line, has the rest."""
    scale = min(1.0, total / 1_000_000)
    sizes = [int(LARGEST_FRAMES * scale)]
    while (sum(sizes) + LEAST_FRAMES * scale) * len(CAMERAS) < total:
        size = min(max(int(rng.lognormal(8.2, 0.45)), LEAST_FRAMES), LARGEST_FRAMES - 100)
        sizes.append(int(size * scale))
    # Of the last one the frames are known when all others are written.
    sizes[-1] = 0
    names = [f"K{90_000 + place}" for place in range(len(sizes))]
    third = len(sizes) // 3
    sizes[0], sizes[third] = sizes[third], sizes[0]
    names[third], names[len(sizes) // 2], names[2 * third] = LARGEST, STUTTERING, WORST
    found = []
    for place, (name, frames) in enumerate(zip(names, sizes, strict=True)):
        called = {WORST: 0.3, LARGEST: 0.05}.get(name, float(rng.gamma(3.0, 0.01)))
        reviewed = 0.1 if place < len(sizes) - 4 else 0.0
        found.append(_Coil(name, frames, called, float(rng.uniform(2_000, 10_000)), reviewed))
    return found


class _Rows:
    """The rows of one coil."""

    def __init__(self, rng: np.random.Generator, coil: _Coil, model: int, version: Version, counts: Integers) -> None:
        """counts: of each camera, how many frames it has taken; raised."""
        self._rng, self._coil, self._model, self._version = rng, coil, model, version
        cameras = len(CAMERAS)
        # In the order in which frames come: all cameras at each place.
        step, camera = np.divmod(np.arange(coil.frames * cameras), cameras)
        self._every_us = int(1e6 * HEIGHT_MM / coil.speed_mm_s)
        at_us = step * self._every_us + camera * 400 + rng.integers(0, 300, len(step))
        lost = self._lost(step, camera)
        step = self._out_of_order(step)
        sequence = counts[camera] + step
        counts += coil.frames
        self._refused = [each[lost] for each in (at_us, camera, sequence, step)]
        self._at_us, self._camera, self._sequence, self._step = (
            each[~lost] for each in (at_us, camera, sequence, step)
        )

    def _lost(self, step: Integers, camera: Integers) -> npt.NDArray[np.bool_]:
        rng, frames = self._rng, self._coil.frames
        lost = np.zeros(len(step), np.bool_)
        for _ in range(rng.poisson(3)):
            first = int(rng.integers(0, frames))
            lost |= (camera == rng.integers(0, len(CAMERAS))) & (step >= first) & (step < first + rng.geometric(0.2))
        if rng.random() < 0.25:
            # A camera stands still for twelve seconds.
            first, count = int(rng.integers(0, frames)), 12_000_000 // self._every_us
            lost |= (camera == rng.integers(0, len(CAMERAS))) & (step >= first) & (step < first + count)
        if self._coil.coil_id == STUTTERING:
            lost |= (camera == 1) & (step % 5 == 4)
        return lost

    def _out_of_order(self, step: Integers) -> Integers:
        """Some frames change places with the camera's next one."""
        cameras = len(CAMERAS)
        early = np.flatnonzero(self._rng.random(len(step) - cameras) < 0.0002)
        early = early[np.diff(early, prepend=-2 * cameras) > cameras]
        step = step.copy()
        step[early], step[early + cameras] = step[early + cameras], step[early]
        return step

    def write(self, connection: Connection, most: int, ended: datetime, *, closed: bool) -> int:
        """Insert them, at most so many inspections, the last one received at `ended`; how many they were."""
        count = min(len(self._step), most)
        step, camera = self._step[:count], self._camera[:count]
        last_us = (ended - EPOCH) // timedelta(microseconds=1)
        offset = last_us - int(self._at_us[count - 1])
        at_us = self._at_us[:count] + offset
        number = first_number_at(1) * at_us + TAG
        coil = connection.execute(
            insert(coils),
            {
                "coil_id": self._coil.coil_id,
                "opened_at": _moment(int(at_us[0])),
                "opened_by": "frame",
                "last_frame_at": ended,
                "closed_at": ended + timedelta(minutes=10) if closed else None,
                "closed_by": "idle" if closed else None,
                "length_mm": self._coil.frames * HEIGHT_MM,
                "width_mm": STRIP_MM,
            },
        ).inserted_primary_key[0]  # type: ignore[index]
        found = self._events(step, camera)
        rows = list(self._inspections(coil, number, at_us, step, camera, found))
        _insert(connection, images, [_image(row) for row in rows if row["image"] is not None])
        _insert(connection, inspections, rows)
        seen = [
            {**event, "coil": coil, "inspection": rows[index]["number"]}
            for index, own in sorted(found.items())
            for event in own
        ]
        _insert(connection, events, seen)
        self._insert_refused(connection, coil, offset, last_us)
        self._insert_said(connection, rows)
        kinds = ["coil_opened", "coil_closed"][: 1 + closed]
        told = [{"at": ended, "kind": kind, "body": {"coil_id": self._coil.coil_id}} for kind in kinds]
        _insert(connection, outbox, told)
        return count

    def _events(self, step: Integers, camera: Integers) -> dict[int, list[Row]]:
        """By index of the frame, the most probable first."""
        rng = self._rng
        called = np.flatnonzero(rng.random(len(step)) < self._coil.called)
        found = {
            index: [self._event(float(step[index]), probability) for probability in probabilities]
            for index, probabilities in zip(called.tolist(), self._probabilities(len(called)), strict=True)
        }
        if self._coil.coil_id == LARGEST:
            self._add_marks(step, camera, found)
        return found

    def _probabilities(self, count: int) -> Iterator[list[float]]:
        """Of the events of each called frame, falling."""
        least = self._version.review_threshold
        each = np.minimum(self._rng.geometric(0.6, count), 4)
        drawn = least + (1 - least) * self._rng.beta(0.9, 0.8, (count, 4))
        for events_of_frame, probabilities in zip(each.tolist(), drawn.tolist(), strict=True):
            yield sorted(probabilities[:events_of_frame], reverse=True)

    def _event(self, step: float, probability: float) -> Row:
        rng = self._rng
        width, height = (int(side) for side in TILE_PX * rng.integers(1, 4, 2))
        x = int(rng.integers(0, (WIDTH_PX - width) // 64 + 1)) * 64
        y = int(rng.integers(0, (HEIGHT_PX - height) // 64 + 1)) * 64
        name = CLASSES[int(np.searchsorted(np.cumsum(SHARES), rng.random() * sum(SHARES)))]
        return _event_row(x, y, width, height, step, probability, name, continued=y == 0 and rng.random() < 0.2)

    def _add_marks(self, step: Integers, camera: Integers, found: dict[int, list[Row]]) -> None:
        """The mark of a roll on top-1, of which one in ten is missed."""
        where = {
            at: index for index, (at, of) in enumerate(zip(step.tolist(), camera.tolist(), strict=True)) if of == 0
        }
        for position_mm in np.arange(400.0, self._coil.frames * HEIGHT_MM - HEIGHT_MM, np.pi * ROLL_MM):
            at, within = divmod(position_mm + self._rng.normal(0, 5), HEIGHT_MM)
            index = where.get(int(at))
            if index is None or self._rng.random() < 0.1:
                continue
            y = min(int(within / MM_PER_PIXEL) // 64 * 64, HEIGHT_PX - TILE_PX)
            least = self._version.defect_threshold
            probability = least + (1 - least) * float(self._rng.random())
            mark = _event_row(704, y, TILE_PX, TILE_PX, at, probability, MARK, continued=False)
            seen = found.setdefault(index, [])
            seen.append(mark)
            seen.sort(key=lambda event: -event["defect_probability"])

    def _inspections(
        self,
        coil: int,
        number: Integers,
        at_us: Integers,
        step: Integers,
        camera: Integers,
        found: dict[int, list[Row]],
    ) -> Iterator[Row]:
        rng, count = self._rng, len(number)
        passed = self._version.review_threshold * rng.beta(0.6, 8.0, count)
        lag = rng.integers(20_000, 60_000, count)
        drawn, reviewed, agrees = rng.random((3, count)).tolist()
        soft = (rng.random(count) < 0.01).tolist()
        request, body = rng.bytes(16 * count).hex(), rng.bytes(32 * count)
        alike = {
            "coil": coil,
            "mm_per_pixel": MM_PER_PIXEL,
            "overlap_rows": 0,
            "width": WIDTH_PX,
            "height": HEIGHT_PX,
            "tiles": WIDTH_PX // TILE_PX * HEIGHT_PX // TILE_PX,
            "method": "shared",
            "model": self._model,
            "engine": "onnx",
            "quality_accepted": True,
            "image_missing": None,
        }
        columns = number.tolist(), at_us.tolist(), lag.tolist(), camera.tolist(), self._sequence[:count].tolist()
        for index, (own, at, late, of, sequence) in enumerate(zip(*columns, strict=True)):
            seen = found.get(index, ())
            probability = seen[0]["defect_probability"] if seen else float(passed[index])
            verdict = self._verdict(probability)
            sampled = drawn[index] < (SAMPLE_CALLED if seen else SAMPLE_OK)
            kept = sampled or bool(seen)
            asked = 2 * reviewed[index] < self._coil.reviewed if seen else reviewed[index] < 2 * self._coil.reviewed
            label = "defect" if (verdict == "defect") == (agrees[index] > 0.15) else "ok"
            yield {
                **alike,
                "number": own,
                "received_at": _moment(at),
                "captured_at": _moment(at - late),
                "request_id": _uuid(request[32 * index : 32 * index + 32]),
                "body_digest": body[32 * index : 32 * index + 32],
                "camera_id": CAMERAS[of][0],
                "side": CAMERAS[of][1],
                "sequence": sequence,
                "position_mm": float(step[index]) * HEIGHT_MM,
                "verdict": verdict,
                "defect_probability": probability,
                "defect_class": seen[0]["defect_class"] if seen else None,
                "event_count": len(seen),
                "quality_warnings": "blurred" if soft[index] else None,
                "image": body[32 * index : 32 * index + 32].hex() if kept else None,
                "sampled": sampled,
                "review": label if kept and asked else None,
            }

    def _verdict(self, probability: float) -> str:
        if probability < self._version.review_threshold:
            return "ok"
        return "review" if probability < self._version.defect_threshold else "defect"

    def _insert_refused(self, connection: Connection, coil: int, offset: int, last_us: int) -> None:
        """Of what was lost, half was refused; of the rest nobody knows why."""
        at_us, camera, sequence, step = self._refused
        rows = [
            {
                "at": _moment(at + offset),
                "code": CODES[int(self._rng.integers(0, len(CODES)))],
                "request_id": None,
                "camera_id": CAMERAS[of][0],
                "coil": coil,
                "side": CAMERAS[of][1],
                "sequence": counted,
                "position_mm": place * HEIGHT_MM,
            }
            for at, of, counted, place in zip(
                at_us.tolist(), camera.tolist(), sequence.tolist(), step.tolist(), strict=True
            )
            if self._rng.random() < 0.5 and at + offset < last_us
        ]
        _insert(connection, refused_frames, rows)

    def _insert_said(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Reviews, what the outbox has of them, and a shadow's other verdicts."""
        rng = self._rng
        said = [
            {
                "inspection": row["number"],
                "at": row["received_at"] + timedelta(hours=6),
                "reviewer": ("Ana", "Bo", "Chris")[index % 3],
                "label": row["review"],
                "defect_class": row["defect_class"] if row["review"] == "defect" else None,
            }
            for index, row in enumerate(row for row in rows if row["review"] is not None)
        ]
        _insert(connection, reviews, said)
        told = [{"at": row["at"], "kind": "review", "body": {"label": row["label"]}} for row in said]
        _insert(connection, outbox, told)
        other = [
            {
                "inspection": row["number"],
                "version": "shadow",
                "verdict": "review" if row["verdict"] != "review" else "ok",
                "defect_probability": float(rng.random()),
                "at": row["received_at"],
            }
            for row in rows
            if rng.random() < (0.03 if row["event_count"] else 0.0002)
        ]
        _insert(connection, differences, other)


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Of no rows SQLAlchemy would make one of defaults."""
    if rows:
        connection.execute(insert(table), rows)


def _event_row(
    x: int, y: int, width: int, height: int, step: float, probability: float, name: str, *, continued: bool
) -> Row:
    return {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "defect_probability": probability,
        "defect_class": name,
        "continued": continued,
        "position_mm": step * HEIGHT_MM + y * MM_PER_PIXEL,
        "length_mm": height * MM_PER_PIXEL,
        "across_mm": x * MM_PER_PIXEL,
        "width_mm": width * MM_PER_PIXEL,
    }


def _image(row: Row) -> Row:
    return {
        "digest": row["image"],
        "format": "jpeg",
        "bytes": PICTURE_BYTES + row["number"] % 10_007,
        "verdict": row["verdict"],
        "stored_at": row["received_at"],
    }


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _keep_pictures(database: Database, folder: Path, rng: np.random.Generator) -> None:
    """Draw the newest called frames, as files of the archive, and name them in their rows."""
    archive = open_archive(str(folder))
    with database.writing() as connection:
        newest = select(inspections.c.number, inspections.c.image).where(inspections.c.verdict != "ok")
        for number, digest in connection.execute(newest.order_by(inspections.c.number.desc()).limit(PICTURES)).all():
            picture = Picture(_jpeg(rng), "jpeg")
            failed = archive.put(picture).result()
            if failed is not None:
                raise failed
            row = connection.execute(select(images).where(images.c.digest == digest)).mappings().one()
            connection.execute(insert(images), {**row, "digest": picture.digest, "bytes": len(picture.data)})
            connection.execute(inspections.update().where(inspections.c.number == number).values(image=picture.digest))
            connection.execute(images.delete().where(images.c.digest == digest))
    archive.close()


def _jpeg(rng: np.random.Generator) -> bytes:
    """A frame of rolled steel with a scratch, roughly."""
    coarse = rng.normal(120, 12, (HEIGHT_PX // 4, WIDTH_PX // 16)).clip(0, 255).astype(np.uint8)
    steel = np.asarray(Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC), np.float64)
    steel = steel + rng.normal(0, 3, steel.shape)
    x, y = int(rng.integers(0, WIDTH_PX - 40)), int(rng.integers(0, HEIGHT_PX - 200))
    steel[y : y + 200, x : x + 6] -= 60
    target = io.BytesIO()
    Image.fromarray(steel.clip(0, 255).astype(np.uint8)).save(target, "JPEG", quality=85)
    return target.getvalue()
