"""Every kind of fault that `check` knows is found where it is planted, and none in a clean folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from training.checks.balance import MIN_GROUPS
from training.checks.finding import KINDS, Severity
from training.checks.shortcut import cross_validated
from training.scan import scan
from training.validate import check, validate

BLACK, WHITE = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)


def grey(seed: int, size: tuple[int, int] = (40, 40)) -> np.ndarray:
    """A surface of its own: uint8."""
    return np.random.default_rng(seed).integers(40, 200, size, np.uint8)


def disc(number: int) -> np.ndarray:
    rows, columns = np.ogrid[:40, :40]
    return np.where((rows - 20) ** 2 + (columns - 20) ** 2 < (8 + number % 5) ** 2, 255, 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, write_image):
    """As many ok and masked defect images as there must be, all different, each a group of its own."""
    for number in range(MIN_GROUPS + 1):
        write_image(tmp_path / f"ok/ok{number}.png", grey(number))
        write_image(tmp_path / f"defect/pit/pit{number}.png", grey(100 + number))
        write_image(tmp_path / f"masks/pit{number}.png", disc(number))
    return tmp_path


def kinds(folder) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.files for finding in check(scan(folder), data=folder).findings}


def test_a_clean_folder_has_no_findings(folder):
    assert kinds(folder) == {}


def test_generated_steel_is_clean(synthetic_folder):
    verdict = check(scan(synthetic_folder))
    assert verdict.sound
    assert {finding.kind for finding in verdict.findings} <= {"too_few_groups_of_type"}


def corrupt(folder, write):
    (folder / "ok/ok0.png").write_bytes((folder / "ok/ok0.png").read_bytes()[:200])


def both_ways(folder, write):
    write(folder / "defect/pit/copy.png", grey(0))
    write(folder / "masks/copy.png", WHITE)


def groups(folder, **of):
    rows = [f"ok/{name}.png,ok,{group}" for name, group in of.items()]
    (folder / "labels.csv").write_text("\n".join(["file,label,group", *rows]))


def across_groups(folder, write):
    write(folder / "ok/copy.png", grey(0))
    groups(folder, ok0="a", copy="b")


def surface_both_ways(folder, write):
    write(folder / "defect/pit/copy.png", (0.6 * grey(0) + 20).astype(np.uint8))
    write(folder / "masks/copy.png", WHITE)


def near_duplicate(folder, write):
    noise = np.random.default_rng(1).normal(0, 4, (40, 40))
    write(folder / "ok/copy.png", np.clip(1.2 * np.rot90(grey(0))[::-1] + noise, 0, 255).astype(np.uint8))
    groups(folder, ok0="a", copy="b")


def overlap(folder, write):
    strip = ndimage.gaussian_filter(grey(7, (80, 120)).astype(float), 1)
    strip = np.clip(120 + 4 * (strip - strip.mean()), 0, 255).astype(np.uint8)
    write(folder / "ok/left.png", strip[:40, :40])
    write(folder / "ok/right.png", strip[4:44, 16:56])
    groups(folder, left="a", right="b")


def frame_of_part(number: int, moved_px: float = 0) -> np.ndarray:
    """A round part with a surface of its own, placed the same but for a few pixels: uint8 (128, 128)."""
    rng = np.random.default_rng(number)
    y, x = rng.uniform(-moved_px, moved_px, 2)
    rows, columns = np.mgrid[-64:64, -64:64]
    outline = np.where(np.hypot(rows - y, columns - x) < 45, 150, 30)
    outline[np.hypot(rows - y, columns - x) < 20] = 90
    return np.clip(outline + ndimage.gaussian_filter(rng.normal(0, 12, (128, 128)), 1), 0, 255).astype(np.uint8)


def parts_alike(folder, write):
    for number, path in enumerate(sorted([*folder.glob("ok/*"), *folder.glob("defect/pit/*")])):
        write(path, frame_of_part(number))
        if "pit" in path.stem:
            write(folder / "masks" / path.name, np.kron(disc(number), np.ones((4, 4), np.uint8))[:128, :128])


def saturated(folder, write):
    write(folder / "ok/ok0.png", np.where(np.arange(40) < 10, 255, grey(0)).astype(np.uint8))


def box(number: int) -> np.ndarray:
    mask = np.zeros((40, 40), np.uint8)
    mask[number % 7 : 30, 3:22] = 255
    return mask


def masks_drawn(folder, write, drawn):
    for number in range(MIN_GROUPS + 1):
        write(folder / f"masks/pit{number}.png", drawn(number))


def in_16_bits(folder, times, suffix=".png"):
    """Every image stored in 16 bits, its grey values so many times as large."""
    for file in [*folder.glob("ok/*.png"), *folder.glob("defect/**/*.png")]:
        deep = np.asarray(Image.open(file)).astype(np.uint16) * np.uint16(times)
        file.unlink()
        Image.fromarray(deep).save(file.with_suffix(suffix))


PLANTED = {
    "unreadable": corrupt,
    "labelled_both_ways": both_ways,
    "duplicate_across_groups": across_groups,
    "surface_both_ways": surface_both_ways,
    "near_duplicate_across_groups": near_duplicate,
    "overlap_across_groups": overlap,
    "mask_unreadable": lambda folder, write: (folder / "masks/pit0.png").write_bytes(b"no image"),
    "mask_size": lambda folder, write: write(folder / "masks/pit0.png", WHITE[:-1]),
    "mask_empty": lambda folder, write: write(folder / "masks/pit0.png", BLACK),
    "mask_dark": lambda folder, write: write(folder / "masks/pit0.png", disc(0) // 255),
    "mask_on_ok": lambda folder, write: write(folder / "masks/ok0.png", WHITE),
    "mask_missing": lambda folder, write: (folder / "masks/pit0.png").unlink(),
    "mask_unused": lambda folder, write: write(folder / "masks/nobody.png", WHITE),
    "masks_mostly_white": lambda folder, write: masks_drawn(folder, write, lambda number: 255 - disc(number)),
    "mask_boxes": lambda folder, write: masks_drawn(folder, write, box),
    "format_not_read": lambda folder, write: (folder / "ok/frame.GIF").write_bytes(b"GIF89a"),
    "unlabelled": lambda folder, write: write(folder / "scratch/a.png", grey(0)),
    "all_alike": parts_alike,
    "duplicate": lambda folder, write: write(folder / "ok/copy.png", grey(0)),
    "constant": lambda folder, write: write(folder / "ok/ok0.png", WHITE),
    "saturated": saturated,
    "depth_unused": lambda folder, write: in_16_bits(folder, 16),
    "mixed_sizes": lambda folder, write: write(folder / "ok/ok0.png", grey(0, (40, 48))),
    "mixed_depths": lambda folder, write: write(folder / "ok/ok0.png", grey(0).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(folder, write_image, kind):
    PLANTED[kind](folder, write_image)
    assert set(kinds(folder)) == {kind}


def test_every_kind_is_planted():
    assert set(KINDS) <= set(PLANTED)


def test_every_kind_is_documented():
    page = (Path(__file__).parents[2] / "docs/check.md").read_text()
    others = {"mixed_sizes", "mixed_depths", "too_few_groups", "too_few_groups_of_type", "class_imbalance", "shortcut"}
    others |= {"no_group_column"}
    assert {kind for kind in set(KINDS) | others if f"| `{kind}` |" not in page} == set()


def test_twelve_bits_in_a_tiff_of_sixteen_are_told_too(folder):
    in_16_bits(folder, 16, ".tif")
    found = kinds(folder)
    assert found.keys() == {"depth_unused"}
    assert len(found["depth_unused"]) == 2 * (MIN_GROUPS + 1)


def test_dark_images_of_a_camera_that_fills_16_bits_are_not_told(folder, write_image):
    """All but one are as dark as 12 bits would be."""
    in_16_bits(folder, 16)
    write_image(folder / "ok/ok0.png", grey(0).astype(np.uint16) * 257)
    assert "depth_unused" not in kinds(folder)


def test_a_few_masks_that_are_boxes_are_not_told(folder, write_image):
    """A straight edge now and then is no box that somebody drew round a defect."""
    masks_drawn(folder, write_image, lambda number: (disc if number % 2 else box)(number))
    assert kinds(folder).keys() == {"mask_boxes"}, "one more box than discs"
    write_image(folder / "masks/pit0.png", disc(0))
    assert kinds(folder) == {}


def test_small_masks_and_whole_ones_may_be_square(folder, write_image):
    small = np.zeros((40, 40), np.uint8)
    small[5:14, 5:14] = 255
    masks_drawn(folder, write_image, lambda number: WHITE if number % 2 else small)
    assert kinds(folder) == {}


def test_images_that_are_one_are_named_in_pairs(folder, write_image):
    overlap(folder, write_image)
    (finding,) = validate(scan(folder))
    assert finding.pairs == (("ok/left.png", "ok/right.png"),)


def test_a_part_may_be_shown_ok_and_defect(folder):
    """One group, two surfaces: a part with a bad corner also has good frames."""
    rows = ["ok/ok0.png,ok,none,part", "ok/ok1.png,ok,none,part", "defect/pit/pit0.png,defect,pit,part"]
    (folder / "labels.csv").write_text("\n".join(["file,label,defect_type,group", *rows]))
    assert kinds(folder) == {}


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_copy_without_a_group_joins_its_original(folder, write_image, turn):
    laid = np.rot90(grey(0)[:, ::-1] if turn >= 4 else grey(0), turn % 4)
    write_image(folder / "ok/copy.png", (laid * 0.7).astype(np.uint8))
    verdict = check(scan(folder))
    assert verdict.findings == []
    assert verdict.groups == len(verdict.records) - 1


def test_an_empty_mask_on_an_ok_image_is_no_fault(folder, write_image):
    write_image(folder / "masks/ok0.png", BLACK)
    assert kinds(folder) == {}


def test_ok_and_defect_images_may_be_named_alike(folder):
    """Numbered from 0 in each folder: the masks are the defects'."""
    for number in range(MIN_GROUPS + 1):
        (folder / f"ok/ok{number}.png").rename(folder / f"ok/pit{number}.png")
    assert kinds(folder) == {}


def test_too_few_groups_say_how_many_are_missing(folder):
    for number in range(2):
        (folder / f"defect/pit/pit{number}.png").unlink()
    (finding,) = validate(scan(folder))
    assert finding.kind == "too_few_groups"
    assert finding.severity is Severity.ERROR
    assert "1 more" in finding.message


def test_without_masks_good_surface_needs_groups_of_its_own(folder):
    shutil.rmtree(folder / "masks")
    assert kinds(folder) == {}
    shutil.rmtree(folder / "ok")
    assert list(kinds(folder)) == ["too_few_groups"]


def test_a_rare_type_is_a_warning(folder, write_image):
    write_image(folder / "defect/fold/fold0.png", grey(77))
    write_image(folder / "masks/fold0.png", WHITE)
    (finding,) = validate(scan(folder))
    assert (finding.kind, finding.severity) == ("too_few_groups_of_type", Severity.WARNING)


def test_a_class_that_outnumbers_the_other_is_told(folder, write_image):
    for number in range(10 * (MIN_GROUPS + 1)):
        write_image(folder / f"ok/more{number}.png", grey(200 + number))
    (finding,) = validate(scan(folder))
    assert (finding.kind, finding.severity) == ("class_imbalance", Severity.WARNING)
    assert "(11 to 1)" in finding.message


@pytest.fixture
def plain_folder(tmp_path, write_image):
    """Fifteen ok and fifteen defect images without masks."""
    for number in range(15):
        write_image(tmp_path / f"ok/ok{number}.png", grey(number))
        write_image(tmp_path / f"defect/pit{number}.png", grey(100 + number))
    return tmp_path


def brighter(image):
    return np.minimum(image + np.uint8(40), 255)


def blurred(image):
    soft = ndimage.gaussian_filter(image.astype(float), 1)
    return np.clip((soft - soft.mean()) * image.std() / soft.std() + image.mean(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("change", "figure"), [(brighter, "brightness"), (blurred, "sharpness")])
def test_a_class_in_another_light_or_focus_is_a_shortcut(plain_folder, write_image, change, figure):
    assert kinds(plain_folder) == {}
    for number in range(15):
        write_image(plain_folder / f"defect/pit{number}.png", change(grey(100 + number)))
    verdict = check(scan(plain_folder))
    (finding,) = [found for found in verdict.findings if found.message.startswith(figure)]
    assert (finding.kind, finding.severity) == ("shortcut", Severity.ERROR)
    assert "it may be the defect itself" in finding.message, "there are no masks"
    assert verdict.shortcuts[0].accuracy == 1.0
    assert not verdict.sound


def test_few_groups_that_a_figure_tells_apart_are_a_warning(tmp_path, write_image):
    """Eight of each in the right order may be luck, and no interval ends where it is measured."""
    for number in range(8):
        write_image(tmp_path / f"ok/ok{number}.png", grey(number))
        write_image(tmp_path / f"defect/pit{number}.png", brighter(grey(100 + number)))
    verdict = check(scan(tmp_path))
    told = verdict.shortcuts[0]
    assert (told.accuracy, told.high) == (1.0, 1.0)
    assert told.low < 0.7
    assert {each.severity for each in verdict.findings if each.kind == "shortcut"} == {Severity.WARNING}


def test_a_dark_defect_is_no_shortcut_when_its_mask_says_where_it_is(plain_folder, write_image):
    mask = disc(0)
    for number in range(15):
        write_image(plain_folder / f"defect/pit{number}.png", np.where(mask, grey(number) // 4, grey(100 + number)))
        write_image(plain_folder / f"masks/pit{number}.png", mask)
    assert kinds(plain_folder) == {}


def test_a_threshold_is_tried_on_groups_it_was_not_set_on():
    """Each group has its own value, drawn at random: on seen groups any such figure would tell the label."""
    rng = np.random.default_rng(0)
    defect, group = np.repeat(np.arange(400) % 2 == 0, 5), np.repeat(np.arange(400).astype(str), 5)
    right = cross_validated(np.repeat(rng.normal(size=400), 5), defect, group)
    assert 0.4 < right.mean() < 0.6


def test_every_image_is_reported_once_and_two_processes_find_the_same(tmp_path, write_image):
    for number in range(600):
        write_image(tmp_path / f"{'ok' if number % 2 else 'defect'}/{number}.png", grey(number, (16, 16)))
    write_image(tmp_path / "ok/copy.png", grey(3, (16, 16)))
    (tmp_path / "ok/broken.png").write_bytes(b"nothing")
    records, told = scan(tmp_path), []
    by_two = check(records, told.append)
    assert sum(told) == len(records)
    assert len(told) < len(records) / 10, "two processes report chunks"
    assert by_two == check(records, workers=1)
    assert {finding.kind for finding in by_two.findings} == {"unreadable", "duplicate"}


def test_the_container_is_part_of_how_pixels_are_stored(folder):
    Image.fromarray(grey(0)).save(folder / "ok/ok0.bmp")
    (folder / "ok/ok0.png").unlink()
    (finding,) = validate(scan(folder))
    assert finding.kind == "mixed_depths"
    assert finding.files == ("ok/ok0.bmp",)


def test_magnetic_tile_regions_labelled_both_ways_and_empty_masks(shared_data):
    found = {finding.kind: finding for finding in validate(scan(shared_data / "data/magnetic_tile"))}
    assert len(found["mask_empty"].files) == 4
    both_ways = found["surface_both_ways"]
    group = {record.file: record.group for record in scan(shared_data / "data/magnetic_tile")}
    assert len({group[file] for file in both_ways.files}) >= 6
    assert all(group[one] == group[other] for one, other in both_ways.pairs)


def test_neu_crops_of_one_picture_are_found_within_one_class_only(shared_data):
    """Crops that show one scratch, shifted, were dealt to different groups there."""
    found = {finding.kind: finding for finding in validate(scan(shared_data / "data/neu_cls"))}
    kind = {record.file: record.defect_type for record in scan(shared_data / "data/neu_cls")}
    pairs = found["overlap_across_groups"].pairs
    assert len(pairs) > 20
    assert all(kind[one] == kind[other] for one, other in pairs)


@pytest.mark.parametrize(("parts", "moved_px"), [(12, 0), (24, 0), (24, 3), (60, 4)])
@pytest.mark.parametrize("named", [True, False])
def test_parts_that_all_look_alike_are_not_taken_for_one_another(tmp_path, write_image, named, parts, moved_px):
    """The outline is alike in all of them, the surface in none, and without given groups each is a group of its own."""
    rows = ["file,label,group"]
    for number in range(parts):
        label = "ok" if number % 2 else "defect"
        write_image(tmp_path / f"{label}/{number}.png", frame_of_part(number, moved_px))
        rows.append(f"{label}/{number}.png,{label},{f'part-{number // 2}' if named else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    verdict = check(scan(tmp_path))
    # Of few parts some figure may tell the labels apart by chance.
    found = {finding.kind for finding in verdict.findings} - {"shortcut"}
    assert found == (set() if named else {"all_alike"})
    assert verdict.groups == (parts // 2 if named else parts)
