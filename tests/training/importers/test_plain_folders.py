"""Plain folders: which names are good surface, which are classes, and which may be either."""

import numpy as np
import pytest

from training.errors import DataFault
from training.importers import import_source


@pytest.mark.parametrize("good", ["ok", "OK", "good", "Normal", "okay", "no_defect", "Defect-Free", "non defective"])
@pytest.mark.parametrize("bad", ["defect", "NG", "Bad", "not_ok", "no_good"])
def test_two_folders_under_any_of_their_names(source, photograph, imported, good, bad):
    photograph(source / good / "a.png", seed=1)
    photograph(source / bad / "b.png", seed=2)
    photograph(source / bad / "dent/c.png", seed=3)
    rows = imported("folders").rows
    assert {name.split("/", 1)[1]: (row["label"], row["defect_type"]) for name, row in rows.items()} == {
        "a.png": ("ok", "none"),
        "b.png": ("defect", "defect"),
        "dent/c.png": ("defect", "dent"),
    }


def test_one_folder_a_class_in_parts_and_with_repeated_names(source, photograph, imported):
    for seed, name in enumerate(["train/good/000", "test/good/000", "test/scratch/000", "train/scratch/001"]):
        photograph(source / f"{name}.bmp", seed=seed)
    photograph(source / "cover.png", seed=9)
    done = imported("folders")
    assert {row["file"] for row in done.rows.values()} == {
        "ok/train_good_000.bmp",
        "ok/test_good_000.bmp",
        "defect/scratch/test_scratch_000.bmp",
        "defect/scratch/001.bmp",
    }
    assert done.rows["test/scratch/000.bmp"]["note"] == "part test"
    assert done.summary.left_out == {"images outside any class folder": ["cover.png"]}
    assert done.summary.masks == 0


def test_masks_go_with_the_class_and_the_stem(source, photograph, save, block, imported, expected_tiles, tmp_path):
    first, second = block(64, 96, slice(0, 20), slice(0, 20)), block(64, 96, slice(40, 60), slice(40, 60))
    for folder, mask in (("scratch", first), ("stain", second)):
        photograph(source / "test" / folder / "000.png", seed=len(folder))
        save(source / "ground_truth" / folder / "000_mask.png", mask.astype(np.uint8) * 255)
    photograph(source / "test/good/000.png", seed=9)
    save(source / "ground_truth/scratch/007_mask.png", first)
    done = imported("folders")
    np.testing.assert_array_equal(done.mask("test/scratch/000.png"), first)
    np.testing.assert_array_equal(done.mask("test/stain/000.png"), second)
    assert done.tile_labels("test/stain/000.png", tmp_path) == expected_tiles(second)
    assert done.tile_labels("test/good/000.png", tmp_path) == [False] * 6
    assert done.summary.left_out == {"masks without a defect image": ["ground_truth/scratch/007_mask.png"]}


def test_a_data_folder_goes_through_unchanged(source, photograph, save, block, imported):
    photograph(source / "ok/a.png", seed=1)
    photograph(source / "defect/dent/b.png", seed=2)
    mask = block(64, 96, slice(0, 20), slice(0, 20))
    save(source / "masks/b.png", mask.astype(np.uint8) * 255)
    done = imported("folders")
    assert {record.file for record in done.records} == {"ok/a.png", "defect/dent/b.png"}
    np.testing.assert_array_equal(done.mask("defect/dent/b.png"), mask)


def test_a_mask_that_two_images_could_take_is_not_guessed(source, photograph, save):
    for folder in ("scratch", "stain"):
        photograph(source / folder / "1.png", seed=len(folder))
    photograph(source / "masks/1.png")
    with pytest.raises(DataFault, match=r"may belong to scratch/1\.png or stain/1\.png"):
        import_source("folders", source, source.parent / "data")


@pytest.mark.parametrize("name", ["ok_front", "Good 2", "normal-light", "almost ok"])
def test_a_name_that_may_be_either_is_not_guessed(source, photograph, name):
    photograph(source / name / "a.png")
    with pytest.raises(DataFault, match="may hold good surface or a defect class"):
        import_source("folders", source, source.parent / "data")


def test_abnormal_is_not_normal(source, photograph, imported):
    photograph(source / "abnormal/a.png")
    assert imported("folders").summary.defects_by_class == {"abnormal": 1}


@pytest.mark.parametrize("folder", ["", "train", "train/images"])
def test_images_without_a_class_are_nothing_to_import(source, photograph, folder):
    photograph(source / folder / "a.png")
    with pytest.raises(DataFault, match="no image to import: 1 images outside any class folder"):
        import_source("folders", source, source.parent / "data")
