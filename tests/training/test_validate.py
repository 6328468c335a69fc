"""Every kind of fault that `check` knows is found where it is planted, and none in a clean folder."""

import shutil

import numpy as np
import pytest

from training.grouping import with_groups
from training.scan import scan
from training.validate import KINDS, Severity, validate

BLACK, WHITE = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)


@pytest.fixture
def folder(tmp_path, write_image):
    """Four ok and four masked defect images, all different, each a group of its own."""
    for number in range(4):
        write_image(tmp_path / f"ok/ok{number}.png", number)
        write_image(tmp_path / f"defect/pit/pit{number}.png", 10 + number)
        write_image(tmp_path / f"masks/pit{number}.png", WHITE)
    return tmp_path


def kinds(folder) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.files for finding in validate(with_groups(scan(folder)))}


def test_a_clean_folder_has_no_findings(folder):
    assert kinds(folder) == {}


def test_generated_steel_is_sound(synthetic_folder):
    findings = validate(with_groups(scan(synthetic_folder)))
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []


def corrupt(folder, write):
    (folder / "ok/ok0.png").write_bytes((folder / "ok/ok0.png").read_bytes()[:200])


def both_ways(folder, write):
    write(folder / "defect/pit/copy.png", 0)
    write(folder / "masks/copy.png", WHITE)


def across_groups(folder, write):
    write(folder / "ok/copy.png", 0)
    (folder / "labels.csv").write_text("file,label,group\nok/ok0.png,ok,a\nok/copy.png,ok,b\n")


PLANTED = {
    "unreadable": corrupt,
    "labelled_both_ways": both_ways,
    "duplicate_across_groups": across_groups,
    "mask_unreadable": lambda folder, write: (folder / "masks/pit0.png").write_bytes(b"no image"),
    "mask_size": lambda folder, write: write(folder / "masks/pit0.png", WHITE[:-1]),
    "mask_empty": lambda folder, write: write(folder / "masks/pit0.png", BLACK),
    "mask_on_ok": lambda folder, write: write(folder / "masks/ok0.png", WHITE),
    "mask_missing": lambda folder, write: (folder / "masks/pit0.png").unlink(),
    "duplicate": lambda folder, write: write(folder / "ok/copy.png", 0),
    "constant": lambda folder, write: write(folder / "ok/ok0.png", WHITE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_found_and_nothing_else(folder, write_image, kind):
    PLANTED[kind](folder, write_image)
    assert set(kinds(folder)) == {kind}


def test_an_empty_mask_on_an_ok_image_is_no_fault(folder, write_image):
    write_image(folder / "masks/ok0.png", BLACK)
    assert kinds(folder) == {}


def test_too_few_groups_say_how_many_are_missing(folder):
    (folder / "defect/pit/pit0.png").unlink()
    (folder / "defect/pit/pit1.png").unlink()
    (finding,) = validate(with_groups(scan(folder)))
    assert finding.kind == "too_few_groups"
    assert finding.severity is Severity.ERROR
    assert "1 more" in finding.message


def test_without_masks_good_surface_needs_groups_of_its_own(folder):
    shutil.rmtree(folder / "masks")
    assert kinds(folder) == {}
    shutil.rmtree(folder / "ok")
    assert list(kinds(folder)) == ["too_few_groups"]


def test_a_rare_type_is_a_warning(folder, write_image):
    write_image(folder / "defect/fold/fold0.png", 77)
    write_image(folder / "masks/fold0.png", WHITE)
    (finding,) = validate(with_groups(scan(folder)))
    assert (finding.kind, finding.severity) == ("too_few_groups_of_type", Severity.WARNING)
