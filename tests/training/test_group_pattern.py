"""File names tell groups, given groups are kept, and what cannot be told is an error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import load_experiment
from training.errors import DataFault, UsageFault
from training.group_pattern import by_pattern, nameless
from training.prepare import labelled_records
from training.scan import Record


def records(*files: str, group: str | None = None) -> list[Record]:
    return [Record(file, Path(), "ok", "none", group, None) for file in files]


def groups(found: list[Record]) -> list[str | None]:
    return [record.group for record in found]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1))
def test_files_share_a_group_exactly_where_the_brackets_found_the_same(shots):
    found = by_pattern(records(*(f"ok/coil{coil}_shot{shot}.png" for coil, shot in shots)), r"coil(\d+)_")
    assert groups(found) == [str(coil) for coil, _ in shots]


@pytest.mark.parametrize(
    ("pattern", "file", "group"),
    [
        (r"^ok/([^/]+)/", "ok/line-1/a.png", "line-1"),
        (r"c(\d+)_s(\d+)", "ok/c7_s2_shot3.png", "7-2"),
        (r"c(\d+)(?:_s(\d+))?", "ok/c7.png", "7"),
        (r"(?P<coil>\w+)-", "defect/pit/Käfer-1.png", "Käfer"),
    ],
)
def test_all_brackets_that_took_part_name_the_group(pattern, file, group):
    assert groups(by_pattern(records(file), pattern)) == [group]


def test_groups_from_labels_csv_are_kept_and_their_files_need_not_match():
    given_groups = records("ok/nameless.png", group="coil-1")
    found = by_pattern([*given_groups, *records("ok/coil-1_x.png", "ok/coil-2_x.png")], r"(coil-\d)_")
    assert groups(found) == ["coil-1", "coil-1", "coil-2"]


def test_without_a_pattern_nothing_is_named():
    assert by_pattern(records("ok/a.png"), None) == records("ok/a.png")


@pytest.mark.parametrize("pattern", [r"coil(\d+)_", r"coil\d*(x?)"], ids=["no match", "nothing in the brackets"])
def test_a_file_without_a_group_is_a_fault_that_names_it_and_counts(pattern):
    files = records("ok/coil1_xa.png", "ok/coil_a.png", "ok/coil_b.png")
    with pytest.raises(DataFault, match=r"names no group for [23] of 3 files, the first is ok/coil"):
        by_pattern(files, pattern)


@pytest.mark.parametrize(("pattern", "told"), [("coil(", "no regular expression"), ("coil[0-9]+", "needs brackets")])
def test_a_pattern_that_is_none_is_wrong_usage(pattern, told):
    with pytest.raises(UsageFault, match=told):
        load_experiment(None, {"group_pattern": pattern})


def test_nameless_are_the_files_that_neither_have_a_group_nor_get_one():
    pattern = r"(coil\d)_"
    assert nameless(records("ok/a.png", "ok/coil1_b.png"), pattern) == ["ok/a.png"]
    assert nameless(records("ok/a.png", group="g"), pattern) == []


def test_an_experiment_with_a_pattern_gives_its_records_these_groups(tmp_path, write_image):
    for coil in range(3):
        for shot in range(2):
            write_image(tmp_path / f"ok/coil{coil}_{shot}.png", 10 * coil + shot)
    found = labelled_records(tmp_path, load_experiment(None, {"group_pattern": r"(coil\d)"}))
    assert groups(found) == ["coil0", "coil0", "coil1", "coil1", "coil2", "coil2"]
