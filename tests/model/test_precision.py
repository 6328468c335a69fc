"""model.precision: what the budget accepts, what a version offers, and what `auto` is."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.artifact import Parity, read_manifest
from model.engine import ENGINES
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.precision import AUTO, Budget, chosen, judge, offered, refusal
from model.registry import Registry
from model.verdict import Thresholds

THRESHOLDS = Thresholds(review=0.3, defect=0.7)
VERSION = "tiny-64-first"


@pytest.fixture(scope="module")
def old(tiny_models):
    """A version from before other engines were measured."""
    return read_manifest(tiny_models / VERSION)


@pytest.fixture
def raced(old):
    """`raced(onnx=100, openvino=(200, False))`: the version with these tiles a second, and whether it is accepted."""

    def make(**engines):
        parity = {}
        for name, given_ in engines.items():
            rate, accepted = given_ if isinstance(given_, tuple) else (given_, True)
            parity[name.replace("_", "-")] = Parity(
                tiles=10,
                max_probability_difference=0.01,
                verdict_flips=0 if accepted else 3,
                accepted=accepted,
                reason=None if accepted else "3 of 10 verdicts changed",
                tiles_per_second=rate,
            )
        return old.model_copy(update={"parity": parity})

    return make


class TestBudget:
    def judged(self, pairs, tiles=1000, budget=None):
        """The given (ours, theirs), among so many tiles that both find the same."""
        ours, theirs = (
            np.concatenate([np.array(side), np.full(tiles - len(pairs), 0.05)]) for side in zip(*pairs, strict=True)
        )
        return judge(ours, theirs, THRESHOLDS, ours > 0.5, budget=budget or Budget())

    def test_the_same_probabilities_are_accepted(self):
        scores = np.linspace(0, 1, 50)
        found = judge(scores, scores, THRESHOLDS, scores > 0.4)
        assert (found.accepted, found.reason, found.verdict_flips, found.auroc_change) == (True, None, 0, 0)
        assert found.max_probability_difference == 0

    def test_one_flip_in_a_thousand_near_a_threshold_is(self):
        found = self.judged([(0.299, 0.301)])
        assert (found.verdict_flips, found.flips_outside_margin, found.accepted) == (1, 0, True)

    def test_one_in_999_is_not(self):
        found = self.judged([(0.299, 0.301)], tiles=999)
        assert not found.accepted
        assert found.reason == "1 of 999 verdicts changed, and a budget of 0.1 % allows 0"

    def test_one_far_from_every_threshold_is_not(self):
        found = self.judged([(0.25, 0.31)])
        assert (found.verdict_flips, found.flips_outside_margin, found.accepted) == (1, 1, False)
        assert found.reason == "1 of these tiles were further than 0.02 from a threshold"

    def test_a_probability_on_a_threshold_has_reached_it(self):
        assert self.judged([(0.3, np.nextafter(0.3, 0))]).verdict_flips == 1
        assert self.judged([(0.3, 0.31)]).verdict_flips == 0

    def test_a_verdict_that_moves_by_two_is_one_flip(self):
        assert self.judged([(0.1, 0.9)]).verdict_flips == 1

    def test_a_large_difference_that_changes_no_verdict_is_accepted_and_told(self):
        found = self.judged([(0.75, 0.99)])
        assert found.accepted
        assert found.max_probability_difference == pytest.approx(0.24)

    def test_another_budget(self):
        pairs = [(0.299, 0.301)] * 5
        assert not self.judged(pairs).accepted
        assert self.judged(pairs, budget=Budget(flips=0.005)).accepted

    @pytest.mark.parametrize("where", ["probability", "class"])
    def test_no_number_is_refused(self, where):
        scores = np.linspace(0, 1, 50)
        broken = np.where(scores > 0.9, np.nan, scores) if where == "probability" else scores
        found = judge(scores, broken, THRESHOLDS, scores > 0.4, np.nan if where == "class" else 0.0)
        assert not found.accepted
        assert "NaN" in (found.reason or "")

    def test_classes_count(self):
        scores = np.linspace(0, 1, 50)
        assert judge(scores, scores, THRESHOLDS, scores > 0.4, 0.3).max_probability_difference == 0.3

    def test_auroc_is_told_where_both_labels_are_there(self):
        ours, theirs = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.35, 0.3, 0.4])
        defect = np.array([False, False, True, True])
        assert judge(ours, theirs, THRESHOLDS, defect).auroc_change == pytest.approx(-0.25)
        for one_label in (defect | True, defect & False):
            assert judge(ours, theirs, THRESHOLDS, one_label).auroc_change is None

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
    def test_flips_far_from_thresholds_are_some_of_all(self, pairs):
        ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
        found = judge(ours, theirs, THRESHOLDS, ours > 0.5)
        assert 0 <= (found.flips_outside_margin or 0) <= found.verdict_flips <= found.tiles == len(pairs)
        assert found.accepted == (found.verdict_flips == 0), "of so few tiles none may flip"


class TestOffer:
    def test_an_old_version_offers_what_it_was_published_with(self, old):
        assert offered(old) == ["onnx", "keras"]
        assert refusal(old, "onnx") is refusal(old, "keras") is None

    @pytest.mark.parametrize("name", ["openvino", "openvino-bf16", "openvino-int8"])
    def test_what_was_not_measured_is_refused_with_the_way_to_it(self, old, name):
        with pytest.raises(SteelsightError) as caught:
            chosen(name, old)
        assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE
        assert f"without measuring the {name} engine" in caught.value.message
        assert "`python -m training train`" in caught.value.message
        assert caught.value.message.endswith("use onnx or keras")

    def test_what_was_refused_says_why(self, raced):
        manifest = raced(onnx=1, openvino_int8=(2, False))
        with pytest.raises(SteelsightError, match="does not offer the openvino-int8 engine: 3 of 10 verdicts changed"):
            chosen("openvino-int8", manifest)
        assert offered(manifest) == ["onnx", "keras"]

    def test_an_inspector_is_refused_before_any_file_is_opened(self, tiny_models):
        with pytest.raises(SteelsightError) as caught:
            Inspector.load(Registry(tiny_models), VERSION, "openvino-int8")
        assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE


class TestAuto:
    def test_is_onnx_for_an_old_version(self, old, tiny_models):
        assert chosen(AUTO, old) == "onnx"
        assert Inspector.load(Registry(tiny_models), VERSION, AUTO).engine.name == "onnx"

    def test_is_the_fastest(self, raced):
        assert chosen(AUTO, raced(onnx=100, openvino=200)) == "openvino"
        assert chosen(AUTO, raced(onnx=300, openvino=200)) == "onnx"

    def test_is_never_one_that_was_refused(self, raced):
        assert chosen(AUTO, raced(onnx=100, openvino=(200, False))) == "onnx"

    def test_is_reduced_precision_where_that_was_accepted(self, raced):
        assert chosen(AUTO, raced(onnx=100, openvino=150, openvino_int8=200)) == "openvino-int8"

    def test_is_none_of_a_later_release(self, raced):
        assert chosen(AUTO, raced(onnx=100, npu=999)) == "onnx"

    @pytest.mark.skipif(ENGINES["openvino-bf16"].runs_here(), reason="this processor has bfloat16")
    def test_is_none_that_the_processor_cannot_run(self, raced):
        assert chosen(AUTO, raced(onnx=100, openvino_bf16=999)) == "onnx"

    def test_what_is_asked_for_by_name_is_taken(self, raced):
        assert chosen("onnx", raced(onnx=100, openvino=200)) == "onnx"


WITHOUT = """
import sys
sys.modules["openvino"] = None
from pathlib import Path
from model.artifact import Parity, read_manifest
from model.precision import chosen
manifest = read_manifest(Path(sys.argv[1]))
fast = Parity(tiles=1, max_probability_difference=0, verdict_flips=0, tiles_per_second=999)
print(chosen("auto", manifest.model_copy(update={"parity": {**manifest.parity, "openvino": fast}})))
"""


def test_auto_is_none_that_is_not_installed(tiny_models):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tiny_models / VERSION)],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["onnx"]
