"""labelme JSON: its shapes, and images without a file or with an empty one."""

import base64
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from training.errors import DataFault
from training.importers import import_source

SQUARE = np.ones((10, 10), np.uint8)


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


def encoded(grey: np.ndarray) -> str:
    """A PNG in base64, as labelme writes the mask of a shape."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def png_header(height: int, width: int) -> bytes:
    """A PNG that promises grey pixels and holds none."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": b"", b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def mask_shape(points: object, grey: np.ndarray) -> dict:
    return {**shape("mask", points), "mask": encoded(grey)}


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


def test_an_oriented_rectangle_is_its_outline(labelme, imported):
    outline = [[20, 10], [30, 20], [20, 30], [10, 20]]
    labelme("a", [shape("oriented_rectangle", outline)])
    labelme("bb", [shape("polygon", outline)])
    done = imported("labelme")
    assert done.mask("a.jpg").sum() == 200
    np.testing.assert_array_equal(done.mask("a.jpg"), done.mask("bb.jpg"))


@pytest.mark.parametrize("others", [[], [shape("rectangle", [[0, 0], [9, 9]])]])
def test_a_kind_that_is_not_drawn_keeps_the_defect_and_is_said(labelme, imported, others):
    labelme("a", [shape("cuboid", [[0, 0], [5, 5]]), *others])
    done = imported("labelme")
    assert done.record("a.jpg").defect_type == "pitting"
    assert done.mask("a.jpg") is None
    assert done.summary.remarks["images with a shape of a kind that is not drawn"] == ["a.jpg"]


def test_an_image_that_is_left_out_has_no_remarks(labelme, imported):
    labelme("a", [shape("cuboid", []), shape("point", [[1, 1]], label="ok")], imageHeight=65)
    labelme("clean", [])
    summary = imported("labelme").summary
    assert (summary.images, summary.remarks) == (1, {})


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_is_drawn_where_its_points_are(labelme, imported, expected_tiles, tmp_path, white):
    part = np.random.default_rng(3).integers(0, 2, (30, 20), np.uint8)
    labelme("a", [mask_shape([[40, 20], [59, 49]], part * white)])
    labelme("moved", [mask_shape([[40.6, 19.6], [59.6, 48.6]], part * white)])
    labelme("dot", [mask_shape([[95, 63], [95, 63]], np.uint8([[white]]))])
    done = imported("labelme")
    expected = np.zeros((64, 96), bool)
    expected[20:50, 40:60] = part
    np.testing.assert_array_equal(done.mask("a.jpg"), expected)
    assert done.tile_labels("a.jpg", tmp_path) == expected_tiles(expected)
    np.testing.assert_array_equal(done.mask("moved.jpg"), np.roll(expected, 1, axis=1))
    assert np.argwhere(done.mask("dot.jpg")).tolist() == [[63, 95]]
    assert done.summary.remarks == {}


@pytest.mark.parametrize(("left", "top"), [(-5, -7), (90, 60), (-30, 20), (30, 200), (-2, 62)])
def test_a_mask_is_cut_at_the_border(labelme, imported, block, left, top):
    labelme("a", [mask_shape([[left, top], [left + 19, top + 29]], np.ones((30, 20), np.uint8))])
    rows, columns = slice(max(0, top), max(0, top + 30)), slice(max(0, left), max(0, left + 20))
    np.testing.assert_array_equal(imported("labelme").mask("a.jpg"), block(64, 96, rows, columns))


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
        ([shape("polygon", [[0, 0], [1, 1]])], {}, "shape 0: polygon of 2 points"),
        ([shape("rectangle", [[0, 0], [1, 1], [2, 2]])], {}, "shape 0: rectangle of 3 points"),
        ([shape("circle", [[0, 0]])], {}, "shape 0: circle of 1 points"),
        ([shape("polygon", [])], {}, "shape 0: polygon of 0 points"),
        ([shape("polygon", None)], {}, "the points are missing"),
        ([shape("polygon", [[0, 0, 0]])], {}, "list of \\[x, y\\]"),
        ([shape("polygon", [["a", 0], [1, 1], [2, 2]])], {}, "not a number of pixels"),
        ([shape("circle", [[0, 0], [float("inf"), 0]])], {}, "not a number of pixels"),
        ([shape("polygon", [[0, 0], [1, 1], [2, 2]], label=" ")], {}, "'label' is"),
        ([shape("oriented_rectangle", [[0, 0], [1, 1]])], {}, "shape 0: oriented_rectangle of 2 points"),
        ([shape("mask", [[0, 0]])], {}, "shape 0: mask of 1 points"),
        ([shape("mask", [[0, 0], [9, 9]])], {}, "'mask' is missing"),
        ([{**shape("mask", [[0, 0], [9, 9]]), "mask": "iVBORw0K*"}], {}, "the mask cannot be read"),
        ([{**shape("mask", [[0, 0], [9, 9]]), "mask": "Fläche"}], {}, "the mask cannot be read"),
        ([{**shape("mask", [[0, 0], [9, 9]]), "mask": "AAAA"}], {}, "the mask cannot be read"),
        ([{**shape("mask", [[0, 0], [9, 9]]), "mask": encoded(SQUARE)[:60]}], {}, "the mask cannot be read"),
        ([mask_shape([[0, 0], [10, 10]], SQUARE)], {}, "the mask has 10 x 10 px; its points span 11 x 11 px"),
        ([mask_shape([[9, 9], [0, 0]], SQUARE)], {}, "the mask has 10 x 10 px; its points span -8 x -8 px"),
        ([mask_shape([[0, 0], [1e7, 1e7]], SQUARE)], {}, "its points span 10000001 x 10000001 px"),
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


def test_a_mask_is_not_unfolded_beyond_what_an_image_may_have(labelme, source, tmp_path):
    bomb = base64.b64encode(png_header(60_000, 60_000)).decode()
    labelme("a", [{**shape("mask", [[0, 0], [59_999, 59_999]]), "mask": bomb}])
    with pytest.raises(DataFault, match=r"a\.json shape 0: the mask cannot be read: .* at most 64 Mpx"):
        import_source("labelme", source, tmp_path / "data")


def test_two_files_for_one_image_are_refused(labelme, source, tmp_path):
    labelme("a", [])
    labelme("b", [], imagePath="a.jpg")
    with pytest.raises(DataFault, match="has an annotation already"):
        import_source("labelme", source, tmp_path / "data")


def test_a_source_without_labelme_files_is_refused(source, photograph, tmp_path):
    photograph(source / "a.jpg")
    with pytest.raises(DataFault, match="list of shapes"):
        import_source("labelme", source, tmp_path / "data")
