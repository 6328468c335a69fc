"""labelme JSON: its shapes, and images without a file or with an empty one."""

import base64
import json

import numpy as np
import pytest

from training.errors import DataFault
from training.importers import import_source


@pytest.fixture
def labelme(source, photograph):
    """`labelme(name, shapes)`: an image of 64 x 96 px and its annotation file beside it."""

    def write(name: str, shapes: object, **changes: object) -> None:
        image = photograph(source / f"{name}.jpg", seed=len(name))
        document = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": image.name,
            "imageData": base64.b64encode(b"another image").decode(),
            "imageHeight": 64,
            "imageWidth": 96,
            **changes,
        }
        (source / f"{name}.json").write_text(json.dumps(document))

    return write


def shape(kind: str, points: object, label: str = "pitting") -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def test_polygon_and_rectangle_draw_the_same(labelme, imported, block, expected_tiles, tmp_path):
    labelme("polygon", [shape("polygon", [[10, 20], [40, 20], [40, 50], [10, 50]])])
    labelme("rectangle", [shape("rectangle", [[40, 50], [10, 20]])])
    done = imported("labelme")
    mask = block(64, 96, slice(20, 50), slice(10, 40))
    for name in ("polygon.jpg", "rectangle.jpg"):
        np.testing.assert_array_equal(done.mask(name), mask)
        assert done.tile_labels(name, tmp_path) == expected_tiles(mask)


def test_a_circle_has_its_area_and_its_centre(labelme, imported):
    labelme("a", [shape("circle", [[48, 32], [48, 52]])])
    mask = imported("labelme").mask("a.jpg")
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    np.testing.assert_allclose(np.argwhere(mask).mean(axis=0) + 0.5, [32, 48])


def test_lines_and_points_are_not_lost(labelme, imported):
    labelme("line", [shape("linestrip", [[0, 10.5], [50, 10.5], [50, 30]])])
    labelme("point", [shape("point", [[95.9, 63.9]])])
    done = imported("labelme")
    assert done.mask("line.jpg")[10, :50].all()
    assert done.mask("line.jpg").sum() < 75
    assert np.argwhere(done.mask("point.jpg")).tolist() == [[63, 95]]


def test_a_kind_that_is_not_drawn_keeps_the_defect(labelme, imported):
    labelme("a", [shape("mask", [[0, 0], [5, 5]]), shape("rectangle", [[0, 0], [9, 9]])])
    done = imported("labelme")
    assert done.record("a.jpg").defect_type == "pitting"
    assert done.mask("a.jpg") is None


def test_ok_unlabelled_and_missing(labelme, source, photograph, imported):
    labelme("clean", [])
    labelme("gone", [])
    (source / "gone.jpg").unlink()
    photograph(source / "nobody_looked.jpg", seed=5)
    (source / "settings.json").write_text("{}")
    done = imported("labelme")
    assert {name: row["label"] for name, row in done.rows.items()} == {"clean.jpg": "ok"}
    assert done.summary.left_out == {
        "annotations whose image is missing": ["gone.json"],
        "images without an annotation": ["nobody_looked.jpg"],
    }


def test_annotations_in_another_folder_with_a_windows_path(source, labelme, imported):
    labelme("a", [shape("rectangle", [[0, 0], [9, 9]])], imagePath="..\\images\\a.jpg")
    for folder, file in (("labels", "a.json"), ("images", "a.jpg")):
        (source / folder).mkdir()
        (source / file).rename(source / folder / file)
    assert imported("labelme").rows["images/a.jpg"]["note"] == "annotated in labels/a.json"


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([shape("polygon", [[0, 0], [1, 1]])], {}, "a polygon of 2 points"),
        ([shape("rectangle", [[0, 0], [1, 1], [2, 2]])], {}, "a rectangle of 3 points"),
        ([shape("circle", [[0, 0]])], {}, "a circle of 1 points"),
        ([shape("polygon", [])], {}, "a polygon of 0 points"),
        ([shape("polygon", None)], {}, "the points are missing"),
        ([shape("polygon", [[0, 0, 0]])], {}, "list of \\[x, y\\]"),
        ([shape("polygon", [["a", 0], [1, 1], [2, 2]])], {}, "not a number of pixels"),
        ([shape("circle", [[0, 0], [float("inf"), 0]])], {}, "not a number of pixels"),
        ([shape("polygon", [[0, 0], [1, 1], [2, 2]], label=" ")], {}, "'label' is"),
        ({}, {}, "a list of objects is expected"),
        ([], {"imagePath": "../../a.jpg"}, "lies outside"),
        ([], {"imagePath": "/etc/passwd"}, "lies outside"),
        ([], {"imagePath": "..\\..\\a.jpg"}, "lies outside"),
        ([], {"imagePath": None}, "'imagePath' is missing"),
        ([], {"imageHeight": "64"}, "a whole number is expected"),
    ],
)
def test_a_broken_file_says_where(labelme, source, tmp_path, shapes, changes, message):
    labelme("a", shapes, **changes)
    with pytest.raises(DataFault, match=message) as raised:
        import_source("labelme", source, tmp_path / "data")
    assert "a.json" in str(raised.value)


def test_two_files_for_one_image_are_refused(labelme, source, tmp_path):
    labelme("a", [])
    labelme("b", [], imagePath="a.jpg")
    with pytest.raises(DataFault, match="has an annotation already"):
        import_source("labelme", source, tmp_path / "data")


def test_a_source_without_labelme_files_is_refused(source, photograph, tmp_path):
    photograph(source / "a.jpg")
    with pytest.raises(DataFault, match="list of shapes"):
        import_source("labelme", source, tmp_path / "data")
