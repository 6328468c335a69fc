"""NEU-DET and GC10-DET: boxes in Pascal VOC files, and what a hostile XML file must not do."""

import time

import numpy as np
import pytest

from training.errors import DataFault
from training.importers import import_source
from training.importers.voc import MAX_BYTES, parse


@pytest.fixture
def neu(source, photograph, voc):
    """One annotated image; more objects and images are up to the test."""

    def add(stem: str, objects, size=(64, 96), seed: int = 0) -> None:
        photograph(source / "IMAGES" / f"{stem}.jpg", seed=seed)
        voc(source / "ANNOTATIONS" / f"{stem}.xml", objects, size)

    return add


def test_boxes_are_counted_from_1_and_hold_their_last_pixel(neu, imported, block, expected_tiles, tmp_path):
    neu("scratches_1", [("scratches", 1, 1, 40, 10), ("inclusion", 90, 60, 96, 64)])
    neu("patches_1", [("patches", 20, 30, 20, 30)], seed=1)
    done = imported("neu-det")
    mask = block(64, 96, slice(0, 10), slice(0, 40)) | block(64, 96, slice(59, 64), slice(89, 96))
    np.testing.assert_array_equal(done.mask("IMAGES/scratches_1.jpg"), mask)
    np.testing.assert_array_equal(done.mask("IMAGES/patches_1.jpg"), block(64, 96, slice(29, 30), slice(19, 20)))
    assert done.tile_labels("IMAGES/scratches_1.jpg", tmp_path) == expected_tiles(mask)
    assert done.rows["IMAGES/scratches_1.jpg"]["defect_types"] == "scratches 400 px; inclusion 35 px"
    assert done.rows["IMAGES/scratches_1.jpg"]["file"] == "defect/scratches/scratches_1.jpg"


def test_overlapping_boxes_of_a_class_count_once(neu, imported):
    neu("a", [("patches", 1, 1, 10, 10), ("patches", 1, 1, 10, 20), ("crazing", 1, 1, 15, 10)])
    assert imported("neu-det").rows["IMAGES/a.jpg"]["defect_types"] == "patches 200 px; crazing 150 px"


def test_boxes_beyond_the_border_are_cut_and_those_outside_leave_an_empty_mask(neu, imported, block, tmp_path):
    neu("beyond", [("patches", -5, -5, 8, 8), ("patches", 90, 60, 500, 500)])
    neu("outside", [("patches", 200, 200, 210, 210)], seed=1)
    neu("one_of_two", [("patches", 200, 200, 210, 210), ("crazing", 1, 1, 9, 9)], seed=2)
    done = imported("neu-det")
    mask = block(64, 96, slice(0, 8), slice(0, 8)) | block(64, 96, slice(59, 64), slice(89, 96))
    np.testing.assert_array_equal(done.mask("IMAGES/beyond.jpg"), mask)
    assert done.record("IMAGES/outside.jpg").label == "defect"
    assert done.summary.remarks == {
        "defect images with an empty mask": ["IMAGES/outside.jpg"],
        "defect images with a class that lies outside of them": ["IMAGES/one_of_two.jpg"],
    }
    assert done.tile_labels("IMAGES/outside.jpg", tmp_path) == []


def test_a_box_turned_inside_out_keeps_the_defect_and_gives_no_mask(neu, imported, tmp_path):
    neu("a", [("patches", 30, 1, 10, 20), ("patches", 1, 1, 10, 20)])
    neu("b", [("patches", 1, 1, 10, 20)], seed=1)
    done = imported("neu-det")
    assert done.record("IMAGES/a.jpg").label == "defect"
    assert done.mask("IMAGES/a.jpg") is None
    assert done.tile_labels("IMAGES/a.jpg", tmp_path) == []


def test_what_is_ok_what_is_unlabelled_and_what_is_missing(neu, source, photograph, voc, imported):
    neu("clean", [])
    neu("other_size", [("patches", 1, 1, 9, 9)], size=(200, 200), seed=1)
    neu("no_size", [("patches", 1, 1, 9, 9)], size=None, seed=2)
    neu("zero_size", [("patches", 1, 1, 9, 9)], size=(0, 0), seed=3)
    photograph(source / "IMAGES/nobody_looked.jpg", seed=4)
    voc(source / "ANNOTATIONS/gone.xml", [("patches", 1, 1, 9, 9)])
    neu("broken", [("patches", 1, 1, 9, 9)])
    (source / "IMAGES/broken.jpg").write_bytes(b"\xff\xd8\xffno photograph")
    done = imported("neu-det")
    assert {name: row["label"] for name, row in done.rows.items()} == {
        "IMAGES/clean.jpg": "ok",
        "IMAGES/no_size.jpg": "defect",
        "IMAGES/zero_size.jpg": "defect",
    }
    assert done.summary.left_out == {
        "annotations whose image is missing": ["ANNOTATIONS/gone.xml"],
        "images without an annotation": ["IMAGES/nobody_looked.jpg"],
        "images of another size than their annotation says": ["IMAGES/other_size.jpg"],
        "images that cannot be read": ["IMAGES/broken.jpg"],
    }


def test_an_annotation_that_two_images_could_take_is_not_guessed(neu, source, photograph, tmp_path):
    neu("a", [])
    photograph(source / "IMAGES/a.png", seed=1)
    with pytest.raises(DataFault, match=r"a\.xml may belong to IMAGES/a\.jpg or IMAGES/a\.png"):
        import_source("neu-det", source, tmp_path / "data")


def test_parts_with_images_by_class(source, photograph, voc, imported):
    for seed, part in enumerate(("train", "validation")):
        photograph(source / part / "images/patches" / f"patches_{seed}.jpg", seed=seed)
        voc(source / part / "annotations" / f"patches_{seed}.xml", [("patches", 1, 1, 9, 9)])
    done = imported("neu-det")
    assert [row["note"] for row in done.rows.values()] == ["part train", "part validation"]


LAUGHS = "".join(f'<!ENTITY b{level} "{f"&b{level - 1};" * 10}">' for level in range(1, 10))
BILLION_LAUGHS = f'<!DOCTYPE a [<!ENTITY b0 "ha">{LAUGHS}]><annotation>&b9;</annotation>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (BILLION_LAUGHS, "document type"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "document type"),
        ('<!DOCTYPE a SYSTEM "http://example.invalid/a.dtd"><annotation/>', "document type"),
        ("<annotation>&x;</annotation>", "undefined entity"),
        ("<annotation><object>", "cannot be read as XML"),
        ("", "cannot be read as XML"),
        ("no xml", "cannot be read as XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "cannot be read as XML"),
        ("<annotation>" + " " * MAX_BYTES + "</annotation>", "larger than"),
        ("<annotation><object/></annotation>", "has no name"),
        ("<annotation><object><name>a</name></object></annotation>", "no bndbox"),
        ("<annotation><object><name>a</name><bndbox/></object></annotation>", "'None' is not a number"),
        *(
            (
                f"<annotation><object><name>a</name><bndbox><xmin>{wrong}</xmin><ymin>1</ymin><xmax>2</xmax>"
                "<ymax>2</ymax></bndbox></object></annotation>",
                "xmin: the coordinate .* is not a number of pixels",
            )
            for wrong in ("nan", "inf", "1e300", "left", "")
        ),
    ],
)
def test_a_broken_or_hostile_annotation_is_refused_at_once(neu, source, tmp_path, xml, message):
    neu("a", [])
    (source / "ANNOTATIONS/a.xml").write_text(xml)
    started = time.monotonic()
    with pytest.raises(DataFault, match=message) as raised:
        import_source("neu-det", source, tmp_path / "data")
    assert time.monotonic() - started < 5
    assert "a.xml" in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_a_document_type_is_refused_in_any_encoding(tmp_path):
    file = tmp_path / "a.xml"
    file.write_bytes('<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>'.encode("utf-16"))
    with pytest.raises(DataFault, match="document type"):
        parse(file)


def test_deep_nesting_does_not_harm(neu, source, imported):
    neu("a", [])
    (source / "ANNOTATIONS/a.xml").write_text("<a>" * 200_000 + "</a>" * 200_000)
    assert imported("neu-det").summary.ok == 1


def test_class_names_from_a_file_stay_inside_the_folder(neu, imported):
    neu("a", [("../../escape", 1, 1, 9, 9)])
    neu("b", [("rolled-in\n scale", 1, 1, 9, 9)], seed=1)
    done = imported("neu-det")
    assert {row["defect_type"] for row in done.rows.values()} == {"../../escape", "rolled-in scale"}
    assert {path.parent.name for path in done.data.rglob("*.jpg")} == {"_.._escape", "rolled-in_scale"}
    assert all(record.label == "defect" for record in done.records)


@pytest.fixture
def gc10(source, photograph, voc):
    photograph(source / "1/img_01.jpg", seed=1)
    photograph(source / "10/img_10.jpg", seed=2)
    photograph(source / "2/no_boxes.jpg", seed=3)
    photograph(source / "2/no_objects.jpg", seed=4)
    voc(source / "lable/img_01.xml", [("1_chongkong", 1, 1, 32, 32), ("d", 64, 1, 70, 5)])
    voc(source / "lable/img_10.xml", [("10_yaozhed", 33, 1, 64, 32)])
    voc(source / "lable/no_objects.xml", [])
    return source


def test_gc10_boxes_or_the_folder_name_the_class(gc10, imported, tmp_path):
    done = imported("gc10-det")
    assert {name: row["defect_type"] for name, row in done.rows.items()} == {
        "1/img_01.jpg": "1_chongkong",
        "10/img_10.jpg": "10_yaozhe",
        "2/no_boxes.jpg": "2_hanfeng",
        "2/no_objects.jpg": "2_hanfeng",
    }
    assert done.rows["1/img_01.jpg"]["defect_types"] == "1_chongkong 1024 px; d 35 px"
    assert done.tile_labels("10/img_10.jpg", tmp_path) == [False, True, False, False, False, False]
    assert done.tile_labels("2/no_boxes.jpg", tmp_path) == []
    assert done.cut(tmp_path).left_out["defect images without a mask"] == 2


def test_gc10_twins_in_two_folders_stay_apart(gc10, photograph, imported):
    photograph(gc10 / "2/img_01.jpg", seed=5)
    done = imported("gc10-det")
    assert {path.stem for path in done.data.glob("masks/*")} == {"1_img_01", "2_img_01", "img_10"}


@pytest.mark.parametrize(("name", "missing"), [("neu-det", "ANNOTATIONS"), ("gc10-det", "folders 1 to 10")])
def test_another_layout_is_refused(source, photograph, tmp_path, name, missing):
    photograph(source / "a.jpg")
    with pytest.raises(DataFault, match=missing):
        import_source(name, source, tmp_path / "data")
