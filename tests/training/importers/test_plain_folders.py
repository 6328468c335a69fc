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


@pytest.mark.parametrize(
    ("files", "defects_by_class"),
    [
        (["steel/ok/a", "steel/defect/scratch/b"], {"scratch": 1}),
        (["set/steel/good/a", "set/steel/scratch/day 2/b"], {"scratch": 1}),
        (["train/steel/ok/a", "test/steel/scratch/b"], {"scratch": 1}),
        (["ok_or_not/ok/a", "ok_or_not/not_ok/b"], {"defect": 1}),
        (["line 1/ok/a", "line 1/dent/b", "line 2/defect/pit/c"], {"dent": 1, "pit": 1}),
        (["metal_nut/train/good/a", "metal_nut/test/scratch/b"], {"scratch": 1}),
        (["good/train/a", "defect/train/b", "defect/test/c"], {"defect": 2}),
        (["ok/images/a", "scratch/train/images/b", "defect/test/dent/c"], {"scratch": 1, "dent": 1}),
        (["ok/scratch/a", "scratch/day 2/b"], {"scratch": 1}),
        (["none/a", "fold/b"], {"fold": 1}),
    ],
)
def test_collections_and_parts_anywhere_are_no_classes(source, photograph, imported, files, defects_by_class):
    for seed, name in enumerate(files):
        photograph(source / f"{name}.png", seed=seed)
    summary = imported("folders").summary
    assert (summary.ok, summary.defects_by_class) == (1, defects_by_class)


def test_a_collection_holds_its_own_masks(source, photograph, save, block, imported):
    """MVTec as it is published, a product a folder, whose file names repeat."""
    first, second = block(64, 96, slice(0, 20), slice(0, 20)), block(64, 96, slice(40, 60), slice(40, 60))
    for product, mask in (("metal_nut", first), ("screw", second)):
        photograph(source / product / "train/good/000.png", seed=len(product))
        photograph(source / product / "test/scratch/000.png", seed=len(product) + 20)
        save(source / product / "ground_truth/scratch/000_mask.png", mask.astype(np.uint8) * 255)
    photograph(source / "metal_nut/cover.png")
    done = imported("folders")
    np.testing.assert_array_equal(done.mask("metal_nut/test/scratch/000.png"), first)
    np.testing.assert_array_equal(done.mask("screw/test/scratch/000.png"), second)
    assert (done.summary.ok, done.summary.defects_by_class) == (2, {"scratch": 2})
    assert done.summary.left_out == {"images outside any class folder": ["metal_nut/cover.png"]}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("scratch/images/1.png", "scratch/masks/1.png"),
        ("scratch/1.png", "scratch/1_mask.png"),
        ("defect/images/1.png", "defect/gt/1.png"),
        ("defect/scratch/1.png", "defect/masks/1.png"),
        ("train/images/scratch/1.png", "train/labels/scratch/1.png"),
        ("test/scratch/1.png", "annotations/1.png"),
        ("defect/scratch/train/1.png", "defect/scratch/train/Ground-Truth/day 2/1.png"),
        ("steel/ng/1.png", "masks/1.png"),
    ],
)
def test_what_lies_below_a_mask_folder_is_never_an_image(source, photograph, save, block, imported, image, mask):
    drawn = block(64, 96, slice(0, 20), slice(0, 20))
    photograph(source / image, seed=1)
    save(source / mask, drawn.astype(np.uint8) * 255)
    done = imported("folders")
    assert list(done.rows) == [image]
    np.testing.assert_array_equal(done.mask(image), drawn)
    assert done.summary.left_out == {}


def test_masks_of_parts_are_kept_apart(source, photograph, save, block, imported):
    drawn = {
        "train": block(64, 96, slice(0, 20), slice(0, 20)),
        "test": block(64, 96, slice(40, 60), slice(40, 60)),
    }
    for part, mask in drawn.items():
        photograph(source / part / "scratch/1.png", seed=len(part))
        save(source / part / "masks/scratch/1.png", mask.astype(np.uint8) * 255)
    done = imported("folders")
    for part, mask in drawn.items():
        np.testing.assert_array_equal(done.mask(f"{part}/scratch/1.png"), mask)


def test_of_two_masks_none_is_guessed(source, photograph):
    photograph(source / "scratch/1.png", seed=1)
    for seed, name in enumerate(["masks/scratch/1.png", "masks/scratch/1_mask.png"]):
        photograph(source / name, seed=seed)
    with pytest.raises(DataFault, match=r"the mask of scratch/1\.png may be masks/scratch/1\.png or"):
        import_source("folders", source, source.parent / "data")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["steel/scratch/a", "steel/dent/b"], "'steel' may be a class or hold the classes"),
        (["ok/a", "scratch/good/b"], "'scratch' holds folders of good surface or defects and lies beside such folders"),
        (["steel/ok/a", "steel/defect/b", "day 2/c"], "'day 2' lies beside 'steel'"),
        (["defect/ok/a"], "'ok' lies in 'defect', which means the contrary"),
        (["good/day 2/NG/a"], "'NG' lies in 'good', which means the contrary"),
        (["ok/a", "scratch/ok_front/b"], "'ok_front' may hold good surface or a defect class"),
        (["ok/a", "scratch_masks/b"], "'scratch_masks' may hold masks"),
        (["ok/a", "defect/scratch/mask 2/b"], "'mask 2' may hold masks"),
    ],
)
def test_folders_that_leave_open_what_they_hold_are_refused(source, photograph, files, message):
    for seed, name in enumerate(files):
        photograph(source / f"{name}.png", seed=seed)
    with pytest.raises(DataFault, match=message):
        import_source("folders", source, source.parent / "data")
    assert not (source.parent / "data").exists()


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
