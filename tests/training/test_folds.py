"""Every group is in one fold, every type is spread, and what cannot be dealt is said."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataFault
from training.folds import deal_folds
from training.scan import Record
from training.split import rarest_types

KINDS = st.sampled_from(["none", "pit", "fold", "scratch"])
GROUPS = st.dictionaries(st.text("abcdef", min_size=1), st.lists(KINDS, min_size=1, max_size=4), min_size=1)


def records_of(groups: dict[str, list[str]]) -> list[Record]:
    return [
        Record(f"{group}-{number}.png", Path(), "ok" if kind == "none" else "defect", kind, group, None)
        for group, kinds in groups.items()
        for number, kind in enumerate(kinds)
    ]


@given(GROUPS, st.integers(2, 6), st.integers(0, 3))
def test_every_group_is_in_one_fold_each_type_is_spread_and_each_fold_has_both_labels(groups, folds, seed):
    records = records_of(groups)
    try:
        fold_of = deal_folds(records, folds, seed)
    except DataFault as fault:
        showing = {label: {record.group for record in records if record.label == label} for label in ("ok", "defect")}
        short = [label for label, names in showing.items() if len(names) < folds]
        assert short
        assert f"{folds} folds need at least {folds} groups that show" in str(fault)
        return
    assert fold_of.keys() == groups.keys()
    assert set(fold_of.values()) == set(range(folds))
    kinds = rarest_types(records)
    for kind in set(kinds.values()):
        counts = Counter(fold_of[group] for group, its in kinds.items() if its == kind)
        assert max(counts.values()) - min(counts[number] for number in range(folds)) <= 1
    sizes = Counter(fold_of.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    with_defects = {fold_of[record.group] for record in records if record.label == "defect"}
    assert with_defects == set(range(folds))


def test_the_seed_decides_and_the_order_of_records_does_not():
    records = records_of({str(n): ["none" if n % 2 else "pit"] for n in range(40)})
    assert deal_folds(records, 5, 3) == deal_folds(records[::-1], 5, 3)
    assert deal_folds(records, 5, 3) != deal_folds(records, 5, 4)


def test_rare_types_do_not_all_meet_in_the_first_fold():
    groups = {f"{kind}-0": [kind] for kind in "abcde"} | {f"ok-{n}": ["none"] for n in range(10)}
    fold_of = deal_folds(records_of(groups), 5, seed=0)
    assert {fold_of[f"{kind}-0"] for kind in "abcde"} == set(range(5))


def test_defects_alone_can_be_dealt_for_a_network_that_tells_them_apart():
    groups = {f"{kind}-{n}": [kind] for kind in "abc" for n in range(4)}
    assert set(deal_folds(records_of(groups), 4, seed=0).values()) == set(range(4))


@pytest.mark.parametrize(("label", "other"), [("none", "pit"), ("pit", "none")])
def test_too_few_groups_of_a_label_says_how_many_are_needed(label, other):
    groups = {f"rare-{n}": [label] for n in range(2)} | {f"many-{n}": [other] for n in range(9)}
    with pytest.raises(DataFault, match=r"3 folds need at least 3 groups that show .* and there are 2: take fewer"):
        deal_folds(records_of(groups), 3, seed=0)
