"""An experiment gets the thresholds it asks for, and a sentence that says what they are worth."""

from pathlib import Path

import numpy as np
import pytest

from training.config import load_experiment
from training.costs import Prices, from_costs
from training.errors import UsageFault
from training.operating_point import operating_point, tell_uncertifiable
from training.scan import Record
from training.threshold import EscapeOf, certify, from_overkill

# Four tiles an image.
FRAME = np.arange(600) // 4


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(1)
    probabilities = rng.uniform(size=600)
    return probabilities, rng.uniform(size=600) < probabilities, np.arange(600).astype(str)


def test_without_a_wish_they_come_from_overkill_and_promise_nothing(scored):
    thresholds, said = operating_point(*scored, FRAME, load_experiment(None, {}))
    assert thresholds == from_overkill(*scored[:2])
    assert "Nothing is promised about escapes" in said["sentence"]


def test_a_saturated_network_is_not_said_to_keep_to_the_share():
    """Ok tiles of probability 1 are called at any threshold."""
    probabilities, defect = np.append(np.linspace(0, 0.9, 80), np.ones(40)), np.arange(120) >= 100
    thresholds, said = operating_point(
        probabilities, defect, np.arange(120).astype(str), np.arange(120), load_experiment(None, {})
    )
    assert thresholds.review == thresholds.defect == 1
    assert "Of the good tiles that chose them 20 % are called, 20 % as defects" in said["sentence"]


def test_a_budget_is_certified(scored):
    thresholds, said = operating_point(*scored, FRAME, load_experiment(None, {"max_escape": 0.05, "confidence": 0.9}))
    certified = certify(*scored, 0.05, 0.9)
    assert thresholds == certified.thresholds
    assert said == certified.model_dump(mode="json")


@pytest.mark.parametrize("escape_of", EscapeOf)
def test_a_budget_of_frames_or_surfaces_is_certified_as_such(scored, escape_of):
    probabilities, defect, _ = scored
    group = (np.arange(600) // 8).astype(str)
    wish = load_experiment(None, {"max_escape": 0.05, "escape_of": str(escape_of)})
    thresholds, said = operating_point(probabilities, defect, group, FRAME, wish)
    certified = certify(probabilities, defect, group, 0.05, 0.95, escape_of=escape_of, frame=FRAME)
    assert thresholds == certified.thresholds
    assert f"of the defects ({escape_of}s" in said["sentence"]


def test_costs_are_minimised_for_the_line_and_the_record_says_so(scored):
    wish = {"escape_cost": 50, "overkill_cost": 2, "review_cost": 0.5, "line_defect_share": 0.01}
    thresholds, said = operating_point(*scored, FRAME, load_experiment(None, wish))
    prices = Prices(escape_cost=50, overkill_cost=2, review_cost=0.5, defect_share=0.01)
    assert thresholds == from_costs(*scored, prices).thresholds
    assert said["stated"]
    assert "1 % defect tiles on the line" in said["sentence"]
    assert "Nothing is certified about escapes" in said["sentence"]


def test_a_share_that_was_not_stated_is_told(scored):
    _, said = operating_point(*scored, FRAME, load_experiment(None, {"escape_cost": 5, "overkill_cost": 1}))
    assert "as in the data" in said["sentence"]
    assert "--line-defect-share" in said["sentence"]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"escape_cost": 5}, "escape_cost is stated and overkill_cost is not"),
        ({"overkill_cost": 5}, "overkill_cost is stated and escape_cost is not"),
        ({"review_cost": 1}, "review_cost belongs to thresholds from costs"),
        ({"line_defect_share": 0.1}, "line_defect_share belongs to thresholds from costs"),
        ({"escape_cost": 5, "overkill_cost": 1, "max_escape": 0.01}, "leave out max_escape or the costs"),
        ({"escape_cost": 0, "overkill_cost": 1}, "escape_cost = 0"),
        ({"escape_of": "frame"}, "state max_escape too"),
        ({"folds": 1}, "folds = 1"),
        ({"figures_only": True}, "state folds too"),
    ],
)
def test_wishes_that_do_not_go_together_are_wrong_usage(wish, told):
    with pytest.raises(UsageFault, match=told):
        load_experiment(None, wish)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"max_escape": 0.05}, "59 independent defects are needed, and of the 60 in the folder about 9 count"),
        ({"max_escape": 0.05, "folds": 5}, ""),
        ({"max_escape": 0.03, "folds": 5}, "99 independent defects are needed, and of the 60 in the folder about 60"),
        ({}, ""),
    ],
)
def test_a_budget_that_the_folder_cannot_certify_is_told_before_the_fit(wish, told, capsys):
    shown = [Record(f"{each}.png", Path(f"{each}.png"), "defect", "pit", str(each // 2), None) for each in range(120)]
    good = [Record(f"ok/{each}.png", Path(f"ok/{each}.png"), "ok", "none", f"ok{each}", None) for each in range(500)]
    tell_uncertifiable(load_experiment(None, wish), [*shown, *good])
    said = capsys.readouterr().err
    assert told in said
    assert bool(said) == bool(told)
