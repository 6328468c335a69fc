"""COCO JSON: boxes, polygons, both kinds of run lengths, and where its images are looked for."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataFault
from training.importers import import_source
from training.importers.folder import MARKED_GOOD
from training.importers.run_lengths import from_counts, unpack_counts

CATEGORIES = [{"id": 1, "name": "scratch"}, {"id": 7, "name": "pit"}]


def counts_of(mask: np.ndarray) -> list[int]:
    """Alternating counts down the columns, surface first."""
    down = mask.T.ravel().astype(int)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(down)) + 1, [len(down)]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if down[0] else counts


def packed(counts: list[int]) -> str:
    """The packing of COCO's mask API, written from its description: differences, 5 bits a character, sign last."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 0x1F, value >> 5
            last = value == (-1 if bits & 0x10 else 0)
            text += chr(48 + (bits if last else bits | 0x20))
            if last:
                break
    return text


@given(st.lists(st.integers(0, 10**9), max_size=60))
def test_packing_is_undone(counts):
    assert unpack_counts(packed(counts)) == counts


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1))
def test_run_lengths_give_the_mask_back(height, width, bits):
    mask = np.array([bits >> place & 1 for place in range(height * width)], bool).reshape(height, width)
    np.testing.assert_array_equal(from_counts(counts_of(mask), height, width).draw(height, width), mask)


@given(st.text(max_size=40))
def test_any_text_is_unpacked_or_refused(text):
    try:
        assert all(isinstance(count, int) for count in unpack_counts(text))
    except ValueError as error:
        assert str(error)


@pytest.fixture
def coco(source, photograph):
    """`coco(annotations, images)`: writes annotations.json and its images of 64 x 96 px."""

    def write(annotations: list[dict], names: tuple[str, ...] = ("a.jpg",), folder: str = ".", **changes) -> None:
        for seed, name in enumerate(names):
            photograph(source / folder / name, seed=seed)
        images = [
            {"id": number, "file_name": name, "height": 64, "width": 96} for number, name in enumerate(names, start=1)
        ]
        document = {"images": images, "annotations": annotations, "categories": CATEGORIES, **changes}
        (source / folder / "_annotations.coco.json").write_text(json.dumps(document))

    return write


def annotation(number: int = 1, category: int = 1, **shape: object) -> dict:
    return {"id": number, "image_id": 1, "category_id": category, "iscrowd": 0, **shape}


def test_every_kind_of_shape_draws_the_same_rectangle(coco, imported, block, expected_tiles, tmp_path):
    mask = block(64, 96, slice(5, 25), slice(30, 50))
    run_lengths = counts_of(mask)
    outline = [30, 5, 50, 5, 50, 25, 30, 25]
    shapes = [
        {"bbox": [30, 5, 20, 20]},
        {"bbox": [0, 0, 96, 64], "segmentation": [outline]},
        {"segmentation": [[*outline[:4], 50, 15, 30, 15], [30, 15, 50, 15, 50, 25, 30, 25]]},
        {"segmentation": {"size": [64, 96], "counts": run_lengths}, "iscrowd": 1},
        {"segmentation": {"size": [64, 96], "counts": packed(run_lengths)}},
    ]
    names = tuple(f"{place}.jpg" for place in range(len(shapes)))
    coco([{**annotation(place, **shape), "image_id": place} for place, shape in enumerate(shapes, start=1)], names)
    done = imported("coco")
    for name in names:
        np.testing.assert_array_equal(done.mask(name), mask)
        assert done.tile_labels(name, tmp_path) == expected_tiles(mask)


def test_the_class_of_the_larger_area_is_the_primary_one(coco, imported):
    coco(
        [
            annotation(1, 1, bbox=[0, 0, 10, 10]),
            annotation(2, 7, bbox=[20, 20, 30, 10]),
            annotation(3, 1, bbox=[0, 0, 5, 5]),
        ]
    )
    row = imported("coco").rows["a.jpg"]
    assert (row["defect_type"], row["defect_types"]) == ("pit", "pit 300 px; scratch 100 px")


def test_listed_without_annotations_is_ok_and_not_listed_is_unlabelled(coco, source, photograph, imported):
    coco([annotation(bbox=[0, 0, 9, 9])], ("a.jpg", "clean.jpg", "gone.jpg"))
    (source / "gone.jpg").unlink()
    photograph(source / "other.jpg", seed=9)
    done = imported("coco")
    assert {name: row["label"] for name, row in done.rows.items()} == {"a.jpg": "defect", "clean.jpg": "ok"}
    assert done.summary.left_out == {
        "annotations whose image is missing": ["gone.jpg"],
        "images without an annotation": ["other.jpg"],
    }


@pytest.mark.parametrize("name", ["ok", "OK", "none", " None ", "Good", "no defect"])
def test_a_category_of_good_surface_marks_no_defect(coco, imported, name):
    categories = [{"id": 1, "name": name}, {"id": 7, "name": "not ok"}]
    boxes = [annotation(1, 1, bbox=[0, 0, 30, 30]), annotation(2, 7, bbox=[50, 0, 20, 20])]
    coco([*boxes, {**boxes[0], "image_id": 2}], ("both.jpg", "good.jpg"), categories=categories)
    done = imported("coco")
    assert (done.rows["good.jpg"]["label"], done.rows["good.jpg"]["defect_types"]) == ("ok", "")
    assert (done.rows["both.jpg"]["label"], done.rows["both.jpg"]["defect_types"]) == ("defect", "not ok 400 px")
    assert done.mask("both.jpg").sum() == 400
    assert done.summary.remarks == {MARKED_GOOD: ["both.jpg", "good.jpg"]}


@pytest.mark.parametrize("shape", [{}, {"bbox": [3, 3, 0, 9]}, {"segmentation": [], "bbox": []}, {"segmentation": {}}])
def test_an_annotation_without_a_place_is_a_defect_without_a_mask(coco, imported, shape):
    coco([annotation(**shape), annotation(2, bbox=[0, 0, 20, 20])])
    done = imported("coco")
    assert done.record("a.jpg").label == "defect"
    assert done.mask("a.jpg") is None
    assert list(done.summary.remarks) == ["defect images without a mask, for not every defect in them has a place"]


def test_images_of_another_size_are_left_out(coco, source, photograph, imported):
    coco([annotation(bbox=[0, 0, 9, 9])], ("a.jpg", "b.jpg"))
    photograph(source / "a.jpg", 32, 48)
    assert imported("coco").summary.left_out == {"images of another size than their annotation says": ["a.jpg"]}


def test_the_same_name_in_two_parts(coco, imported):
    for part in ("train", "valid"):
        coco([annotation(bbox=[0, 0, 9, 9])], folder=part)
    done = imported("coco")
    assert sorted(path.stem for path in done.data.glob("masks/*")) == ["train_a", "valid_a"]


def test_annotations_in_a_folder_of_their_own(coco, source, imported):
    for part in ("train2017", "val2017"):
        coco([annotation(bbox=[0, 0, 9, 9])], folder=part)
        (source / "annotations").mkdir(exist_ok=True)
        (source / part / "_annotations.coco.json").rename(source / "annotations" / f"instances_{part}.json")
    assert set(imported("coco").rows) == {"train2017/a.jpg", "val2017/a.jpg"}


def test_a_name_that_fits_two_images_is_not_guessed(coco, source, tmp_path):
    for part in ("x", "y"):
        coco([], folder=part)
        (source / part / "_annotations.coco.json").rename(source / "all.json")
    with pytest.raises(DataFault, match=r"may be x/a.jpg and y/a.jpg"):
        import_source("coco", source, tmp_path / "data")


@pytest.mark.parametrize(
    ("annotations", "changes", "message"),
    [
        ([annotation(category=3)], {}, "category_id 3 is not listed"),
        ([{**annotation(), "image_id": 5}], {}, "name the image 5, which is not listed"),
        ([{"id": 1, "image_id": 1}], {}, "'category_id' is missing"),
        ([annotation(bbox=[1, 2, 3])], {}, "bbox is"),
        ([annotation(bbox=[1, 2, 3, float("nan")])], {}, "not a number of pixels"),
        ([annotation(bbox=[1, 2, 3, 1e300])], {}, "not a number of pixels"),
        ([annotation(segmentation=[[1, 2, 3, 4]])], {}, "the polygon is"),
        ([annotation(segmentation=[7])], {}, "the polygon is"),
        ([annotation(segmentation="x")], {}, "the segmentation is"),
        ([annotation(segmentation={"size": [64, 96], "counts": [1, 2]})], {}, "the counts cover 3 pixels"),
        ([annotation(segmentation={"size": [64, 96], "counts": [-1, 6145]})], {}, "a count outside"),
        ([annotation(segmentation={"size": [64, 96], "counts": "\x01"})], {}, "packed counts"),
        ([annotation(segmentation={"size": [64, 96], "counts": "oooooooooooooooooooo"})], {}, "packed counts"),
        ([annotation(segmentation={"size": [64, 96], "counts": ["a"]})], {}, "whole number"),
        ([annotation(segmentation={"size": [64, 96]})], {}, "the segmentation is"),
        ([annotation(segmentation={"size": [-1, 96], "counts": []})], {}, "the segmentation is"),
        ([], {"images": [{"id": 1, "file_name": "../a.jpg"}]}, "lies outside"),
        ([], {"images": [{"id": 1, "file_name": "/etc/passwd"}]}, "lies outside"),
        ([], {"images": [{"id": 1, "file_name": 3}]}, "a text is expected"),
        ([], {"images": [{"file_name": "a.jpg"}]}, "'id' is missing"),
        ([], {"images": [3]}, "a list of objects is expected"),
        ([], {"images": [{"id": number, "file_name": "a.jpg"} for number in (1, 2)]}, "listed before"),
        (3, {}, "a list of objects is expected"),
    ],
)
def test_a_broken_file_says_where(coco, source, tmp_path, annotations, changes, message):
    coco(annotations, **changes)
    with pytest.raises(DataFault, match=message) as raised:
        import_source("coco", source, tmp_path / "data")
    assert "_annotations.coco.json" in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_run_lengths_for_another_size_leave_the_image_out(coco, source, imported):
    segmentation = {"size": [32, 48], "counts": [0, 32 * 48]}
    coco([annotation(segmentation=segmentation)], ("a.jpg", "b.jpg"))
    assert imported("coco").summary.left_out == {"images of another size than their run lengths are for": ["a.jpg"]}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe\x00", '{"images": 1' + "0" * 5000 + "}"])
def test_what_is_no_json_is_refused(source, photograph, tmp_path, text):
    photograph(source / "a.jpg")
    (source / "all.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    for name in ("coco", "labelme"):
        with pytest.raises(DataFault, match=r"all\.json"):
            import_source(name, source, tmp_path / "data")


def test_a_source_without_coco_files_is_refused(source, photograph, tmp_path):
    photograph(source / "a.jpg")
    (source / "settings.json").write_text('{"colour": 1}')
    with pytest.raises(DataFault, match="images, annotations and categories"):
        import_source("coco", source, tmp_path / "data")
