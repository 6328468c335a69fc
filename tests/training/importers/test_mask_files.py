"""Formats with a mask file beside the image: KolektorSDD, KolektorSDD2 and magnetic tile."""

import re

import numpy as np
import pytest

from training.errors import DataFault
from training.importers import import_source
from training.importers.magnetic_tile import series


@pytest.fixture
def crack(block):
    return block(64, 96, slice(40, 50), slice(10, 30))


def test_kolektor_items_are_groups_and_black_masks_are_ok(
    source, photograph, save, crack, imported, expected_tiles, tmp_path
):
    for seed, (item, part, mask) in enumerate(
        [("kos01", "Part0", crack), ("kos01", "Part1", crack & False), ("kos02", "Part0", crack & False)]
    ):
        photograph(source / item / f"{part}.jpg", seed=seed)
        save(source / item / f"{part}_label.bmp", mask.astype(np.uint8) * 255)
    photograph(source / "kos02/Part1.jpg", seed=9)
    save(source / "kos02/Part2_label.bmp", crack)
    done = imported("kolektorsdd")
    assert {name: (row["label"], row["group"]) for name, row in done.rows.items()} == {
        "kos01/Part0.jpg": ("defect", "kos01"),
        "kos01/Part1.jpg": ("ok", "kos01"),
        "kos02/Part0.jpg": ("ok", "kos02"),
    }
    assert done.summary.left_out == {
        "images without an annotation": ["kos02/Part1.jpg"],
        "annotations whose image is missing": ["kos02/Part2_label.bmp"],
    }
    assert done.summary.groups == 2
    np.testing.assert_array_equal(done.mask("kos01/Part0.jpg"), crack)
    assert done.tile_labels("kos01/Part0.jpg", tmp_path) == expected_tiles(crack)
    assert done.tile_labels("kos01/Part1.jpg", tmp_path) == [False] * 6


def test_kolektor_2_in_two_parts(source, photograph, save, crack, imported, expected_tiles, tmp_path):
    for seed, (name, mask) in enumerate(
        [("train/10000", crack), ("train/10001", crack & False), ("test/20000", crack)]
    ):
        photograph(source / f"{name}.png", seed=seed)
        save(source / f"{name}_GT.png", mask.astype(np.uint8) * 255)
    done = imported("kolektorsdd2")
    assert {row["note"] for row in done.rows.values()} == {"part train", "part test"}
    assert {row["group"] for row in done.rows.values()} == {""}
    assert (done.summary.ok, done.summary.defect) == (1, 2)
    assert done.tile_labels("test/20000.png", tmp_path) == expected_tiles(crack)


@pytest.mark.parametrize("value", [255, 128, 1])
def test_a_mask_that_numbers_the_class_is_a_defect_all_the_same(source, photograph, save, crack, imported, value):
    photograph(source / "train/1.png")
    save(source / "train/1_GT.png", crack.astype(np.uint8) * np.uint8(value))
    np.testing.assert_array_equal(imported("kolektorsdd2").mask("train/1.png"), crack)


def test_grey_seams_of_a_jpeg_mask_are_cut_in_the_middle(source, photograph, save, crack, imported):
    photograph(source / "MT_Crack/Imgs/exp1_num_1.jpg")
    soft = np.where(crack, 250, 3).astype(np.uint8)
    soft[39, 10:30] = 100
    save(source / "MT_Crack/Imgs/exp1_num_1.png", soft)
    np.testing.assert_array_equal(imported("magnetic-tile").mask("MT_Crack/Imgs/exp1_num_1.jpg"), crack)


def test_masks_that_do_not_fit_leave_the_image_out(source, photograph, save, crack, imported):
    for number in (1, 2, 3):
        photograph(source / f"train/{number}.png", seed=number)
    save(source / "train/1_GT.png", crack[:, 1:])
    (source / "train/2_GT.png").write_bytes(b"no image")
    save(source / "train/3_GT.png", crack)
    assert imported("kolektorsdd2").summary.left_out == {
        "images whose mask has another size": ["train/1.png"],
        "images whose mask cannot be read": ["train/2.png"],
    }


def test_magnetic_tile_classes_series_and_an_empty_mask(source, photograph, save, crack, imported, tmp_path):
    photographs = [
        ("MT_Blowhole", 1, 100, crack),
        ("MT_Blowhole", 6, 120, crack),
        ("MT_Free", 3, 110, crack & False),
        ("MT_Free", 1, 130, crack & False),
        ("MT_Uneven", 2, 140, crack & False),
    ]
    for folder, exposure, number, mask in photographs:
        stem = source / folder / "Imgs" / f"exp{exposure}_num_{number}"
        photograph(stem.with_suffix(".jpg"), seed=number)
        save(stem.with_suffix(".png"), mask.astype(np.uint8) * 255)
    photograph(source / "MT_Break/Imgs/exp4_num_150.jpg")
    done = imported("magnetic-tile")
    assert {row["source_file"].split("_num_")[1]: (row["defect_type"], row["group"]) for row in done.rows.values()} == {
        "100.jpg": ("blowhole", "series_0100"),
        "120.jpg": ("blowhole", "series_0100"),
        "110.jpg": ("none", "series_0100"),
        "130.jpg": ("none", "series_0130"),
        "140.jpg": ("uneven", "series_0130"),
    }
    # The source says uneven and its mask says nothing: the check must see both.
    assert done.summary.remarks == {"defect images with an empty mask": ["MT_Uneven/Imgs/exp2_num_140.jpg"]}
    assert not done.mask("MT_Uneven/Imgs/exp2_num_140.jpg").any()
    assert done.summary.left_out == {"images without an annotation": ["MT_Break/Imgs/exp4_num_150.jpg"]}
    assert done.cut(tmp_path).left_out == {"defect images with an empty mask": 1}


def test_the_series_of_the_published_names_are_the_known_surfaces(shared_data):
    """Of the surfaces that are known to be the same, few are spread over several series."""
    table = (shared_data / "data/magnetic_tile/labels.csv").read_text()
    surfaces = {found[2]: found[1] for found in re.finditer(r",(mt\d+),(exp\d_num_\d+)\.jpg", table)}
    groups = series(surfaces)
    assert groups.keys() == surfaces.keys()
    apart = {
        surface for surface in surfaces.values() if len({groups[s] for s in surfaces if surfaces[s] == surface}) > 1
    }
    assert len(apart) <= 12
    assert len(set(surfaces.values())) == 143


@pytest.mark.parametrize(
    ("name", "missing"), [("kolektorsdd", "kos01"), ("kolektorsdd2", "neither"), ("magnetic-tile", "MT_Blowhole")]
)
def test_another_layout_is_refused(source, photograph, tmp_path, name, missing):
    photograph(source / "a.jpg")
    with pytest.raises(DataFault, match=missing):
        import_source(name, source, tmp_path / "data")
