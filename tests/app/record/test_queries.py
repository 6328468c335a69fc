"""One inspection with all that belongs to it, the cameras, and how much there is."""

from datetime import timedelta

import pytest
from sqlalchemy import insert

from app.schemas_record import InspectionDetail, InspectionRow
from app.store import queries, schema
from app.store.cameras import MAX_CAMERAS, cameras, gaps
from app.store.numbers import inspection_id
from tests.app.store.rows import STARTED, add_event, add_image, add_inspection, now

SECOND = timedelta(seconds=1)


def detail(record, number):
    with record.reading() as connection:
        found = queries.detail(connection, number)
    return None if found is None else InspectionDetail.whole(found).model_dump(mode="json")


def test_an_inspection_is_told_with_all_that_belongs_to_it(record):
    at = STARTED.replace(microsecond=123_456)
    with record.writing() as connection:
        add_image(connection, "d" * 64, format="jpeg", bytes=77)
        number = add_inspection(
            connection, "C7", "m7", received_at=at, captured_at=at - SECOND, request_id="r1", sequence=5, side="bottom",
            position_mm=12.5, mm_per_pixel=0.5, verdict="defect", defect_probability=0.9, defect_class="pit",
            event_count=2, quality_warnings="saturated,constant", image="d" * 64, sampled=True, review="ok",
        )  # fmt: skip
        other = add_inspection(connection)
        first = add_event(connection, number, position_mm=20.0, defect_class="pit")
        second = add_event(connection, number, continued=True)
        add_event(connection, other)
        said = {"inspection": number, "at": at, "reviewer": "eva", "label": "ok"}
        connection.execute(insert(schema.reviews), {**said, "undone_at": at, "undone_by": "eva", "label": "defect"})
        connection.execute(insert(schema.reviews), {**said, "x": 1, "y": 2, "width": 3, "height": 4, "note": "dust"})
        judged = {"inspection": number, "version": "m8", "verdict": "ok", "defect_probability": 0.1, "at": at}
        connection.execute(insert(schema.differences), judged)
    told = detail(record, number)
    assert told["inspection_id"] == inspection_id(number)
    assert (told["received_at"], told["captured_at"]) == ("2026-03-02T08:00:00.123456Z", "2026-03-02T07:59:59.123456Z")
    assert (told["coil_id"], told["version"], told["side"], told["sequence"]) == ("C7", "m7", "bottom", 5)
    assert told["thresholds"] == {"review": 0.3, "defect": 0.7}
    assert told["model"] == {"version": "m7", "engine": "onnx"}
    assert (told["has_image"], told["image_missing"], told["review"], told["sampled"]) == (True, None, "ok", True)
    assert told["image"] == {
        "width": 256, "height": 128, "tiles": 2, "method": "tiles",
        "digest": "d" * 64, "format": "jpeg", "bytes": 77, "deleted_at": None, "deleted_why": None,
    }  # fmt: skip
    assert told["quality"] == {"accepted": True, "warnings": ["saturated", "constant"]}
    assert [(each["event"], each["position_mm"], each["continued"]) for each in told["events"]] == [
        (first, 20.0, False),
        (second, None, True),
    ]
    assert [(each["label"], each["box"], each["undone_by"]) for each in told["reviews"]] == [
        ("defect", None, "eva"),
        ("ok", {"x": 1, "y": 2, "width": 3, "height": 4}, None),
    ]
    assert told["shadow"] == [{"version": "m8", "verdict": "ok", "defect_probability": 0.1}]


def test_what_is_not_there_is_none(record):
    assert detail(record, 12345) is None
    with record.writing() as connection:
        number = add_inspection(connection, None, camera_id=None, side=None)
    told = detail(record, number)
    assert (told["coil_id"], told["camera_id"], told["image"]["digest"]) == (None, None, None)
    assert (told["events"], told["reviews"], told["shadow"], told["quality"]["warnings"]) == ([], [], [], [])


def test_an_image_that_was_deleted_is_no_image(record):
    with record.writing() as connection:
        add_image(connection, "e" * 64, deleted_at=STARTED, deleted_why="age")
        add_inspection(connection, image="e" * 64)
        add_inspection(connection, image_missing="archive_full")
        add_inspection(connection)
    with record.reading() as connection:
        rows = [InspectionRow.of(row) for row in queries.page(connection, queries.Wanted(), 10).rows]
    assert [(row.has_image, row.image_missing) for row in rows] == [
        (False, None),
        (False, "archive_full"),
        (False, "deleted"),
    ]


def test_the_size_counts_what_is_kept(record):
    with record.writing() as connection:
        add_image(connection, "a" * 64, bytes=100)
        add_image(connection, "b" * 64, bytes=20)
        add_image(connection, "c" * 64, bytes=3, deleted_at=STARTED, deleted_why="size")
        add_inspection(connection)
    with record.reading() as connection:
        assert queries.size(connection) == (1, 2, 120)
        taken = queries.database_bytes(record, connection)
    if record.file is not None:
        assert taken >= record.file.stat().st_size
    assert taken > 50_000


def test_cameras_are_told_by_name_with_their_last_frame(record):
    at = now()
    with record.writing() as connection:
        for second in range(20, 0, -1):
            add_inspection(
                connection, "C1", camera_id="b", side="top", received_at=at - second * SECOND,
                sequence=100 - second, width=1000, height=500,
            )  # fmt: skip
        add_inspection(connection, "C2", camera_id="a", received_at=at - 30 * SECOND)
        add_inspection(connection, "C2", camera_id="gone", received_at=at - timedelta(hours=25))
        add_inspection(connection, "C2", camera_id=None, received_at=at)
    with record.reading() as connection:
        first, second = cameras(connection, at)
    assert (first.last["camera_id"], second.last["camera_id"]) == ("a", "b")
    assert (first.frames_per_second, first.megapixels_per_second, first.gaps) == (0, 0, 0)
    assert (second.last["sequence"], second.last["coil_id"], second.gaps) == (99, "C1", 0)
    # Ten frames of half a megapixel in ten seconds.
    assert (second.frames_per_second, second.megapixels_per_second) == (1.0, 0.5)


def test_no_camera_is_told_of_an_empty_record(record):
    with record.reading() as connection:
        assert cameras(connection, now()) == []


def test_made_up_camera_names_are_bounded(record):
    at = now()
    with record.writing() as connection:
        for number in range(MAX_CAMERAS + 20):
            add_inspection(connection, camera_id=f"c{number:04}", received_at=at)
    with record.reading() as connection:
        found = cameras(connection, at)
    assert [camera.last["camera_id"] for camera in found] == [f"c{number:04}" for number in range(MAX_CAMERAS)]


def test_gaps_are_counted_among_the_last_frames(record, monkeypatch):
    frames = 40
    monkeypatch.setattr("app.store.cameras.FRAMES", frames)
    at = now()
    with record.writing() as connection:
        # An early gap that is out of sight, a frame that came late, one without a number, and two gaps.
        numbers = [0, *range(50, 50 + frames), 91, 90, None, 100, 101, 110]
        for place, sequence in enumerate(numbers):
            add_inspection(connection, received_at=at - (len(numbers) - place) * SECOND / 1000, sequence=sequence)
    with record.reading() as connection:
        (camera,) = cameras(connection, at)
    assert camera.gaps == 2


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([], 0),
        ([5], 0),
        ([5, 5, 5], 0),
        ([3, 1, 2], 0),
        ([1, 2, 4], 1),
        ([1, 3, 5, 7], 3),
        ([1, 10, 3], 2),
        ([2**62, 2**62 + 1, 0, 1], 0),
        ([2**62, 2**62 + 2, 0, 2], 2),
    ],
)
def test_gaps(sequences, expected):
    assert gaps([(None, sequence) for sequence in sequences]) == expected
    assert gaps([(1, sequence) for sequence in sequences]) == expected


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("A0 A1 A3 B0 B1 B2", 1),
        ("A0 A1 A2 B0 B2 B3", 1),
        ("A0 A1 B2 B3 C4", 0),
        ("A0 A1 B3 B4", 1),
        ("A0 A2 B0 B1 A1 B2", 0),
        ("A500 A501 B0 A502 B1", 0),
        ("A0 A1 A2 B0 B1 B2 C0 C2", 1),
        ("A7 A8 B8 B9", 0),
    ],
)
def test_gaps_of_a_camera_that_counts_anew_with_each_coil_or_counts_on(frames, expected):
    assert gaps([(ord(frame[0]), int(frame[1:])) for frame in frames.split()]) == expected
