"""Severstal: run lengths on 1600 x 256, in both published layouts of the table."""

import numpy as np
import pytest

from training.errors import DataFault
from training.importers import import_source

HEIGHT, WIDTH = 256, 1600


def run_lengths(mask: np.ndarray) -> str:
    """Pairs of first pixel from 1 and length, down the columns, as Severstal's table has them."""
    down = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(down)) + 1
    return " ".join(f"{first} {end - first}" for first, end in zip(edges[::2], edges[1::2], strict=True))


@pytest.fixture
def scratch(block):
    return block(HEIGHT, WIDTH, slice(10, 200), slice(700, 790))


@pytest.fixture
def stain(block):
    # 18 px on either side of the seam at row 224: fewer than make a defect, so both tiles there are unclear.
    return block(HEIGHT, WIDTH, slice(221, 227), slice(88, 94)) | block(HEIGHT, WIDTH, slice(0, 4), slice(1590, 1600))


@pytest.fixture
def steel(source, photograph, scratch, stain):
    """Four images: two classes, one class, none, and one that no table names."""
    for seed, name in enumerate("abcd"):
        photograph(source / "train_images" / f"{name}.jpg", HEIGHT, WIDTH, seed)
    photograph(source / "test_images/t.jpg")
    rows = {("a", 3): run_lengths(scratch), ("a", 1): run_lengths(stain), ("b", 4): run_lengths(stain)}

    def write(layout: str) -> None:
        if layout == "joined":
            lines = [f"{name}.jpg_{number},{rows.get((name, number), '')}" for name in "abc" for number in (1, 2, 3, 4)]
            header = "ImageId_ClassId,EncodedPixels"
        else:
            lines = [f"{name}.jpg,{number},{runs}" for (name, number), runs in rows.items()]
            header = "ImageId,ClassId,EncodedPixels"
        (source / "train.csv").write_text("\n".join([header, *lines, ""]))

    return write


@pytest.mark.parametrize("layout", ["joined", "columns"])
def test_masks_and_tiles_are_those_that_were_encoded(steel, imported, layout, scratch, stain, expected_tiles, tmp_path):
    steel(layout)
    done = imported("severstal")
    np.testing.assert_array_equal(done.mask("train_images/a.jpg"), scratch | stain)
    np.testing.assert_array_equal(done.mask("train_images/b.jpg"), stain)
    assert done.mask("train_images/c.jpg") is None
    for name, mask in (("a", scratch | stain), ("b", stain), ("c", np.zeros_like(stain))):
        labels = done.tile_labels(f"train_images/{name}.jpg", tmp_path)
        assert labels == expected_tiles(mask)
        assert any(labels) == (name != "c")
    assert done.cut(tmp_path).left_out == {"tiles with 1 to 19 masked pixels": 2 * 2}


@pytest.mark.parametrize("layout", ["joined", "columns"])
def test_classes_and_what_an_unnamed_image_is(steel, imported, layout):
    steel(layout)
    done = imported("severstal")
    both = done.rows["train_images/a.jpg"]
    assert both["defect_type"] == "class_3"
    assert both["defect_types"] == "class_3 17100 px; class_1 76 px"
    assert done.summary.defects_by_class == {"class_3": 1, "class_4": 1}
    assert {record.group for record in done.records} == {None}
    if layout == "joined":
        assert done.summary.left_out == {"images without an annotation": ["train_images/d.jpg"]}
        assert done.summary.ok == 1
    else:
        assert done.record("train_images/d.jpg").label == "ok"
        assert done.summary.ok == 2


def test_the_last_pixel_is_inside_and_the_next_is_not(source, photograph, imported):
    for name in "ab":
        photograph(source / "train_images" / f"{name}.jpg", HEIGHT, WIDTH)
    last = HEIGHT * WIDTH
    (source / "train.csv").write_text(f"ImageId,ClassId,EncodedPixels\na.jpg,1,{last} 1\nb.jpg,1,{last} 2\n")
    done = imported("severstal")
    mask = done.mask("train_images/a.jpg")
    assert mask[-1, -1]
    assert mask.sum() == 1
    assert done.summary.left_out == {"images whose run lengths go beyond their last pixel": ["train_images/b.jpg"]}


def test_an_image_that_is_named_but_missing_is_counted(steel, source, imported):
    steel("columns")
    (source / "train_images/b.jpg").unlink()
    assert imported("severstal").summary.left_out == {"annotations whose image is missing": ["b.jpg"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("ImageId,Pixels\na.jpg,1 2\n", "has the columns"),
        ("", "has the columns None"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,1,1 2 3\n", "line 2: .*3 numbers"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,1,0 2\n", "line 2: .*counted from 1"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,1,1 -2\n", "line 2: .*counted from 1"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,1,one 2\n", "line 2: .*cannot be read"),
        (f"ImageId,ClassId,EncodedPixels\na.jpg,1,1 {10**30}\n", "line 2: .*counts no pixels"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,x,1 2\n", "line 2: .*a class number"),
        ("ImageId,ClassId,EncodedPixels\n,1,1 2\n", "line 2: .*a file name"),
        ("ImageId,ClassId,EncodedPixels\na.jpg\n", None),
        ("ImageId_ClassId,EncodedPixels\na.jpg,1 2\n", "line 2"),
        ("ImageId,ClassId,EncodedPixels\n../../a.jpg,1,1 2\n", "lies outside"),
        ("ImageId,ClassId,EncodedPixels\n/etc/passwd,1,1 2\n", "lies outside"),
        ('ImageId,ClassId,EncodedPixels\n"a.jpg,1,1 2\n', "comma-separated"),
        (b"ImageId,ClassId,EncodedPixels\n\xff\xfe.jpg,1,1 2\n", "UTF-8"),
    ],
)
def test_a_broken_table_says_where(source, photograph, tmp_path, table, message):
    photograph(source / "train_images/a.jpg")
    (source / "train.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    if message is None:
        assert import_source("severstal", source, tmp_path / "data").ok == 1
        return
    with pytest.raises(DataFault, match=message):
        import_source("severstal", source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("missing", ["train.csv", "train_images"])
def test_a_missing_part_is_named(source, photograph, tmp_path, missing):
    if missing == "train.csv":
        photograph(source / "train_images/a.jpg")
    else:
        (source / "train.csv").write_text("ImageId,ClassId,EncodedPixels\n")
    with pytest.raises(DataFault, match=missing):
        import_source("severstal", source, tmp_path / "data")
