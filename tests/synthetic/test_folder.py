"""Synthetic steel keeps the folder contract, repeats byte for byte, and its masks tell the truth."""

import csv
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from synthetic import SynthesisSummary, synthesize
from synthetic.camera import draw_camera
from synthetic.defects import DEFECT_CLASSES
from synthetic.series import LARGEST_SHIFT_PX, LEAST_MASKED_PX, Series, plan_series, shoot, spoil
from synthetic.surface import draw_finish, roll

TILES, SEED = 210, 5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SynthesisSummary]:
    data = tmp_path_factory.mktemp("synthetic") / "steel"
    return data, synthesize(data, TILES, SEED)


def labels(data: Path) -> list[dict[str, str]]:
    with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def contents(data: Path) -> dict[str, bytes]:
    files = (path for path in data.rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): path.read_bytes() for path in files}


def test_labels_name_every_image_and_only_those(written: tuple[Path, SynthesisSummary]) -> None:
    data, _ = written
    rows = labels(data)
    assert (data / "labels.csv").read_text(encoding="utf-8").startswith("file,label,defect_type,group\n")
    files = {row["file"] for row in rows}
    assert len(files) == len(rows) == TILES
    assert files | {f"masks/{Path(row['file']).name}" for row in rows if row["label"] == "defect"} == set(
        contents(data)
    ) - {"labels.csv"}
    assert len({Path(file).stem for file in files}) == TILES


def test_folder_label_and_type_agree(written: tuple[Path, SynthesisSummary]) -> None:
    data, _ = written
    for row in labels(data):
        folder = Path(row["file"]).parent.as_posix()
        expected = ("ok", "none") if folder == "ok" else ("defect", folder.removeprefix("defect/"))
        assert (row["label"], row["defect_type"]) == expected


def test_images_are_tiles_and_every_mask_shows_a_defect(written: tuple[Path, SynthesisSummary]) -> None:
    data, _ = written
    for row in labels(data):
        assert pixels(data / row["file"]).shape == (128, 128)
        if row["label"] == "defect":
            mask = pixels(data / "masks" / Path(row["file"]).name)
            assert mask.shape == (128, 128)
            assert set(np.unique(mask)) == {0, 255}
            assert np.count_nonzero(mask) >= LEAST_MASKED_PX


def test_summary_counts_what_was_written(written: tuple[Path, SynthesisSummary]) -> None:
    data, summary = written
    rows = labels(data)
    types = Counter(row["defect_type"] for row in rows)
    assert summary.tiles == TILES
    assert summary.ok == types.pop("none")
    assert summary.defect == TILES - summary.ok
    assert summary.defects_by_class == types
    assert summary.groups == len({row["group"] for row in rows})


def test_share_is_met_and_classes_are_balanced(written: tuple[Path, SynthesisSummary]) -> None:
    _, summary = written
    assert summary.defect / summary.tiles == pytest.approx(0.4, abs=0.02)
    assert set(summary.defects_by_class) == set(DEFECT_CLASSES)
    counts = summary.defects_by_class.values()
    assert max(counts) - min(counts) <= 4  # the longest series


def test_a_group_is_one_surface_taken_up_to_four_times(written: tuple[Path, SynthesisSummary]) -> None:
    data, _ = written
    sizes = Counter[int]()
    for _, group in itertools.groupby(labels(data), key=lambda row: row["group"]):
        shots = list(group)
        sizes[len(shots)] += 1
        assert len({(row["label"], row["defect_type"]) for row in shots}) == 1
        for one, other in itertools.pairwise(shots):
            first, second = pixels(data / one["file"]), pixels(data / other["file"])
            assert not np.array_equal(first, second)
            if one["label"] == "defect":
                masks = [pixels(data / "masks" / Path(row["file"]).name) for row in (one, other)]
                assert best_shift(*masks) is not None
    assert set(sizes) == {1, 2, 3, 4}


def best_shift(mask: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int | None:
    """Rows by which `other` must be moved to lie on `mask` where both see the strip, or None."""
    height = len(mask)
    for shift in range(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1):
        rows = slice(max(0, shift), height + min(0, shift))
        moved = slice(max(0, -shift), height + min(0, -shift))
        if np.array_equal(mask[rows], other[moved]):
            return shift
    return None


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        synthesize(tmp_path / folder, 24, 9)
    synthesize(tmp_path / "other seed", 24, 10)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert not set(one.values()) & set(contents(tmp_path / "other seed").values())


def test_more_tiles_only_append(tmp_path: Path) -> None:
    synthesize(tmp_path / "few", 17, 3)
    synthesize(tmp_path / "more", 30, 3)
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    assert more.pop("labels.csv").startswith(few.pop("labels.csv"))
    assert few.items() <= more.items()


@pytest.mark.parametrize("defect_class", DEFECT_CLASSES)
def test_mask_is_what_the_defect_changed_visibly(defect_class: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        finish, camera = draw_finish(rng), draw_camera(rng, 128)
        sound = roll(rng, finish, (136, 128))
        seen_sound = camera.see(sound)
        seen, mask = spoil(rng, defect_class, sound, finish, camera)
        contrast = np.abs(seen / seen_sound - 1)
        assert seen.dtype == np.float32
        assert contrast[mask].min() >= finish.visible_contrast * 0.999
        assert contrast[~mask].max() <= finish.visible_contrast * 1.001


@pytest.mark.parametrize(("share", "sound"), [(0.0, True), (1.0, False)])
def test_all_sound_and_all_defective_are_met_exactly(share: float, sound: bool) -> None:
    assert {series.defect_class is None for series in plan_series(1, 40, share)} == {sound}


@pytest.mark.parametrize(("feature", "most"), [(np.mean, 0.65), (np.std, 0.75)])
def test_no_single_number_gives_the_label_away(
    written: tuple[Path, SynthesisSummary], feature: Callable[[npt.NDArray[np.uint8]], float], most: float
) -> None:
    data, _ = written
    rows = labels(data)
    values = np.array([feature(pixels(data / row["file"])) for row in rows])
    defect = np.array([row["label"] == "defect" for row in rows])[np.argsort(values)]
    found, spared = np.cumsum(defect[::-1]) / defect.sum(), np.cumsum(~defect[::-1]) / (~defect).sum()
    balanced = (found + 1 - spared) / 2
    assert max(balanced.max(), (1 - balanced).max()) < most


@pytest.mark.parametrize("size", [32, 33, 200])
@pytest.mark.parametrize("defect_class", DEFECT_CLASSES)
def test_any_size_shows_every_class(size: int, defect_class: str) -> None:
    for index in range(4):
        for image, mask in shoot(0, Series(index, 4, defect_class), size):
            assert image.shape == mask.shape == (size, size)
            assert np.count_nonzero(mask) >= LEAST_MASKED_PX


def test_sound_steel_has_no_mask() -> None:
    assert not any(mask.any() for _, mask in shoot(0, Series(0, 4, None), 64))


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    seen: list[int] = []
    synthesize(tmp_path, 7, 0, on_progress=seen.append)
    assert seen == list(range(1, 8))


def test_an_interrupted_run_leaves_no_labels_and_is_not_mixed_into(tmp_path: Path) -> None:
    def interrupt(written: int) -> None:
        if written == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, 10, 0, on_progress=interrupt)
    assert not list(tmp_path.glob("labels.csv*"))
    assert len(contents(tmp_path)) >= 3
    with pytest.raises(ValueError, match=r"already holds files, such as .*png"):
        synthesize(tmp_path, 10, 0)


@pytest.mark.parametrize(
    ("tiles", "seed", "defect_share", "size", "message"),
    [
        (0, 0, 0.4, 128, "tiles must be at least 1. Received: 0"),
        (-3, 0, 0.4, 128, "tiles must be at least 1. Received: -3"),
        (5, -1, 0.4, 128, "seed must be 0 or more. Received: -1"),
        (5, 0, 1.1, 128, "defect_share must lie between 0 and 1. Received: 1.1"),
        (5, 0, float("nan"), 128, "defect_share must lie between 0 and 1. Received: nan"),
        (5, 0, 0.4, 31, "size must be at least 32 px. Received: 31"),
    ],
)
def test_unsound_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, tiles: int, seed: int, defect_share: float, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        synthesize(tmp_path / "steel", tiles, seed, defect_share=defect_share, size=size)
    assert not (tmp_path / "steel").exists()


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok" / "plant.png").write_bytes(b"the plant's own")
    with pytest.raises(ValueError, match=r"already holds files, such as ok/plant\.png; .* name another one"):
        synthesize(tmp_path, 5, 0)
    assert contents(tmp_path) == {"ok/plant.png": b"the plant's own"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "steel").write_text("not a folder")
    with pytest.raises(ValueError, match="is a file; name a folder"):
        synthesize(tmp_path / "steel", 5, 0)


def test_an_empty_folder_is_welcome(tmp_path: Path) -> None:
    assert synthesize(tmp_path, 1, 0).tiles == 1
