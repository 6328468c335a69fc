"""Groups stay whole, every type reaches every part, and the seed decides alone."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import SplitShares
from training.scan import Record
from training.split import Part, split


def records_of(groups: dict[str, list[str]]) -> list[Record]:
    return [
        Record(f"{group}-{number}.png", Path(), "ok" if kind == "none" else "defect", kind, group, None)
        for group, kinds in groups.items()
        for number, kind in enumerate(kinds)
    ]


@given(st.dictionaries(st.text("abcdef", min_size=1), st.lists(st.sampled_from(["none", "pit", "fold"]), min_size=1)))
def test_every_group_has_exactly_one_part(groups):
    parts = split(records_of(groups), SplitShares(), seed=1)
    assert parts.keys() == groups.keys()


@pytest.mark.parametrize("count", [4, 5, 10, 97])
def test_with_four_groups_of_a_type_each_part_gets_one(count):
    groups = {f"{kind}{number}": [kind] for kind in ("none", "pit") for number in range(count)}
    parts = split(records_of(groups), SplitShares(), seed=5)
    shown = defaultdict(set)
    for group, part in parts.items():
        shown[part].update(groups[group])
    assert all(shown[part] == {"none", "pit"} for part in Part)


def test_shares_are_kept():
    parts = list(split(records_of({str(n): ["none"] for n in range(100)}), SplitShares(), seed=0).values())
    assert [parts.count(part) for part in Part] == [50, 15, 15, 20]


def test_a_group_counts_for_its_rarest_type():
    groups = {f"common{n}": ["pit"] for n in range(20)} | {f"rare{n}": ["pit", "fold", "none"] for n in range(4)}
    parts = split(records_of(groups), SplitShares(), seed=2)
    assert {parts[f"rare{n}"] for n in range(4)} == set(Part)


def test_the_seed_decides_and_the_order_of_records_does_not():
    records = records_of({str(n): ["none" if n % 2 else "pit"] for n in range(40)})
    assert split(records, SplitShares(), 3) == split(records[::-1], SplitShares(), 3)
    assert split(records, SplitShares(), 3) != split(records, SplitShares(), 4)


def test_more_of_one_type_does_not_reshuffle_another():
    base = {f"none{n}": ["none"] for n in range(20)}
    more = base | {f"pit{n}": ["pit"] for n in range(9)}
    before, after = split(records_of(base), SplitShares(), 0), split(records_of(more), SplitShares(), 0)
    assert before == {group: after[group] for group in base}


@pytest.mark.parametrize("types", [4, 5, 10])
@pytest.mark.parametrize("each", [1, 2])
def test_many_rare_types_still_reach_every_part(types, each):
    groups = {f"ok{n}": ["none"] for n in range(8)}
    groups |= {f"type{kind}-{n}": [f"type{kind}"] for kind in range(types) for n in range(each)}
    parts = split(records_of(groups), SplitShares(), seed=0)
    assert {part for group, part in parts.items() if groups[group] != ["none"]} == set(Part)


@given(st.integers(4, 40), st.tuples(*[st.floats(0.01, 0.9)] * 3).filter(lambda shares: sum(shares) < 0.99))
def test_whatever_the_shares_four_groups_reach_every_part(count, shares):
    calibration, threshold, test = shares
    given = SplitShares(calibration=calibration, threshold=threshold, test=test)
    parts = split(records_of({str(n): ["none"] for n in range(count)}), given, seed=0)
    assert set(parts.values()) == set(Part)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_odd_shares_never_leave_training_without_groups(count):
    shares = SplitShares(calibration=0.8, threshold=0.1, test=0.05)
    parts = split(records_of({str(n): ["none"] for n in range(count)}), shares, seed=0)
    assert len(parts) == count
    assert Part.TRAIN in parts.values()
