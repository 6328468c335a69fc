"""Thresholds keep what they promise: on the tiles they were chosen from, and of defects nobody has seen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit
from scipy.stats import binom

from training.errors import DataFault, UsageFault
from training.threshold import (
    CertifiedThresholds,
    EscapeOf,
    allowed_escapes,
    certify,
    escape_bound,
    from_overkill,
    groups_needed,
    independent_scores,
)

PROBABILITIES = arrays.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1, exclude_max=True))
PLANTS = 1000
CONFIDENCE = 0.95
# Enough surfaces for the true escape rate to be known to 3 % of itself where it is 1 %.
MANY = 100_000


class TestFromOverkill:
    @given(PROBABILITIES)
    def test_overkill_is_never_above_what_was_tolerated(self, ok):
        thresholds = from_overkill(ok, np.zeros(len(ok), bool))
        assert (ok >= thresholds.review).mean() <= 0.05
        assert (ok >= thresholds.defect).mean() <= 0.01

    def test_defects_do_not_move_the_thresholds(self):
        ok = np.linspace(0, 0.5, 100)
        alone = from_overkill(ok, np.zeros(100, bool))
        both = from_overkill(np.concatenate([ok, [0.001, 0.9]]), np.array([False] * 100 + [True] * 2))
        assert alone == both

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_all_ok_tiles_alike(self, value):
        thresholds = from_overkill(np.full(10, value), np.zeros(10, bool))
        assert value <= thresholds.review <= thresholds.defect <= 1


@dataclass(frozen=True)
class Plant:
    """An endless supply of defect surfaces whose tiles are alike, and of which large ones are harder to see.

    shape: hidden score -> probability, non-decreasing. visibility: draws how visible each of n surfaces is.
    noise: how much the tiles of one surface differ.
    """

    shape: Callable[[np.ndarray], np.ndarray] = expit
    visibility: Callable[[np.random.Generator, int], np.ndarray] = lambda rng, n: rng.normal(0, 1, n)
    noise: float = 0.4

    def surfaces(self, count, rng):
        """Scores, surface numbers and frame numbers of the defect tiles of `count` surfaces."""
        size = rng.geometric(0.15, count)
        surface = np.repeat(np.arange(count), size)
        # One surface in ten is barely visible.
        visible = 2 - 0.05 * size + self.visibility(rng, count) - 2 * (rng.random(count) < 0.1)
        hidden = visible[surface] + rng.normal(0, self.noise, len(surface))
        order = np.arange(len(surface)) - np.repeat(np.cumsum(size) - size, size)
        return self.shape(hidden), surface, 1000 * surface + order // 2

    def true_escape_rate(self, escape_of, rng):
        """Threshold -> share that it passes, counted on 100,000 surfaces which each count the same."""
        scores, surface, frame = self.surfaces(MANY, rng)
        if escape_of is EscapeOf.FRAME:
            kept, number = np.unique(frame, return_inverse=True)
            surface, tiles = kept // 1000, scores
            scores = np.zeros(len(kept))
            np.maximum.at(scores, number, tiles)
        if escape_of is EscapeOf.SURFACE:
            largest = np.zeros(MANY)
            np.maximum.at(largest, surface, scores)
            scores, surface = largest, np.arange(MANY)
        order = np.argsort(scores)
        weight = (1 / np.bincount(surface)[surface])[order] / MANY
        passed, rising = np.concatenate([[0], np.cumsum(weight)]), scores[order]
        return lambda threshold: passed[np.searchsorted(rising, threshold, side="left")]


PLANTS_OF = {
    "continuous": Plant(),
    "heavy tails": Plant(visibility=lambda rng, n: rng.standard_t(1.5, n)),
    "surfaces alike, tiles not": Plant(visibility=lambda rng, n: rng.normal(0, 0.1, n), noise=2),
    "six steps": Plant(shape=lambda hidden: np.round(expit(hidden) * 5) / 5),
    "most 0 or 1": Plant(shape=lambda hidden: np.clip(hidden / 2, 0, 1)),
}


@cache
def resampled(kind, escape_of, defect_groups, max_escape):
    """Certificates of resampled plants, and the escape rate that each review threshold really has."""
    plant, rng = PLANTS_OF[kind], np.random.default_rng(20261120)
    true_rate = plant.true_escape_rate(escape_of, rng)
    certificates = []
    for number in range(PLANTS):
        scores, surface, frame = plant.surfaces(defect_groups, rng)
        ok = plant.shape(rng.normal(-2, 1, 40))
        # A group's name says nothing of its defects, and no plant has the names of another.
        names = np.char.add(f"{number}-", np.append(surface, np.arange(40)).astype(str))
        defect = np.arange(len(names)) < len(scores)
        certificates.append(
            certify(
                np.append(scores, ok),
                defect,
                names,
                max_escape,
                CONFIDENCE,
                escape_of=escape_of,
                frame=np.append(frame, -1 - np.arange(40)),
            )
        )
    return certificates, np.array([true_rate(found.thresholds.review) for found in certificates])


# So few of 1,000 plants keep a promise of 95 % by chance once in 10,000 tries; so many once in 10,000 too.
FEWEST, MOST = binom.ppf([1e-4, 1 - 1e-4], PLANTS, CONFIDENCE)


class TestTheBoundHoldsInResampledPlants:
    @pytest.mark.parametrize("kind", PLANTS_OF)
    def test_whatever_the_scores_are_like(self, kind):
        certificates, true_rates = resampled(kind, EscapeOf.TILE, 110, 0.05)
        bounds = np.array([found.escape_bound for found in certificates])
        assert all(found.certified for found in certificates)
        assert (bounds <= 0.05).all()
        assert (true_rates <= bounds).sum() >= FEWEST

    @pytest.mark.parametrize("escape_of", [EscapeOf.FRAME, EscapeOf.SURFACE])
    def test_in_every_sense_of_an_escape(self, escape_of):
        certificates, true_rates = resampled("continuous", escape_of, 110, 0.05)
        bounds = np.array([found.escape_bound for found in certificates])
        assert FEWEST <= (true_rates <= bounds).sum() <= MOST

    @pytest.mark.parametrize(
        ("kind", "escape_of", "defect_groups", "max_escape"),
        [
            *((kind, EscapeOf.TILE, 110, 0.05) for kind in PLANTS_OF),
            ("continuous", EscapeOf.FRAME, 110, 0.05),
            ("continuous", EscapeOf.SURFACE, 110, 0.05),
            ("continuous", EscapeOf.TILE, 400, 0.01),
        ],
    )
    def test_a_certified_budget_is_kept_in_at_least_the_promised_share_of_plants(
        self, kind, escape_of, defect_groups, max_escape
    ):
        """What a plant signs: at most so many escape. It leaves room, for the number of escapes allowed is whole."""
        certificates, true_rates = resampled(kind, escape_of, defect_groups, max_escape)
        assert all(found.certified for found in certificates)
        kept = int((true_rates <= max_escape).sum())
        print(f"{kind}, {escape_of}s, {defect_groups} groups, {max_escape:.0%}: kept in {kept} of {PLANTS}")
        assert kept >= CONFIDENCE * PLANTS

    def test_it_is_exact_where_scores_do_not_tie_and_so_no_more_cautious_than_it_says(self):
        certificates, true_rates = resampled("continuous", EscapeOf.TILE, 110, 0.05)
        bounds = np.array([found.escape_bound for found in certificates])
        assert FEWEST <= (true_rates <= bounds).sum() <= MOST
        # One escape among 110 is allowed, and the second smallest score passes 2 of 111 on average.
        assert true_rates.mean() == pytest.approx(2 / 111, rel=0.1)

    def test_the_bound_that_too_few_defects_prove_holds_as_well(self):
        certificates, true_rates = resampled("continuous", EscapeOf.TILE, 20, 0.01)
        bounds = np.array([found.escape_bound for found in certificates])
        assert not any(found.certified for found in certificates)
        assert FEWEST <= (true_rates <= bounds).sum() <= MOST

    def test_tiles_counted_as_independent_would_break_it(self):
        """Why groups are counted: in the same plants, the same procedure over tiles keeps too few promises."""
        plant, rng = PLANTS_OF["continuous"], np.random.default_rng(3)
        true_rate = plant.true_escape_rate(EscapeOf.TILE, rng)
        kept = 0
        for _ in range(PLANTS):
            scores, _, _ = plant.surfaces(110, rng)
            rank = allowed_escapes(len(scores), 0.05, CONFIDENCE)
            kept += true_rate(np.sort(scores)[rank]) <= 0.05
        assert kept < FEWEST


def labelled(defects, ok=100, tiles=3):
    """Scores of so many defect surfaces of `tiles` tiles each, and of ok surfaces of one."""
    rng = np.random.default_rng(defects)
    scores = np.append(rng.uniform(0.3, 1, defects * tiles), rng.uniform(0, 0.6, ok))
    group = np.append(np.repeat(np.arange(defects), tiles), 10_000 + np.arange(ok)).astype(str)
    return scores, np.arange(len(scores)) < defects * tiles, group


class TestCertify:
    def test_enough_defects(self):
        found = certify(*labelled(700), 0.01, 0.95)
        assert found.certified
        assert found.defect_groups == 700
        assert found.escaped_groups == 2
        assert found.escape_bound == escape_bound(2, 700, 0.95) <= 0.01
        assert found.sentence.startswith(
            "Certified: at most 0.897 % of the defects (tiles, each surface counting the same) escape, with 95 % "
            "confidence"
        )

    def test_too_few_defects_say_how_many_more(self):
        found = certify(*labelled(41), 0.01, 0.95)
        assert not found.certified
        assert (found.escaped_groups, found.groups_needed) == (0, 299)
        assert found.escape_bound == pytest.approx(1 - 0.05 ** (1 / 41))
        assert (
            "with 0 escapes, at least 299 independent defects are needed to certify 1 % at 95 %: 41 are there, "
            "258 more are needed" in found.sentence
        )
        assert "folder" not in found.sentence, "all of its groups are here"

    def test_what_a_folder_needs_is_more_than_what_its_threshold_part_needs(self):
        found = certify(*labelled(41), 0.01, 0.95, part=0.15)
        assert "Of a folder's groups 15 % come here: this one needs some 1720 more that show defects" in found.sentence

    def test_what_escapes_of_the_tiles_at_hand_is_told_beside_the_certificate(self):
        """Two large surfaces that are hard to see are two defects of 150, and most of the tiles."""
        sizes = np.append(np.ones(148, int), [200, 200])
        group, ok = np.repeat(np.arange(150), sizes).astype(str), np.full(50, 0.1)
        scores = np.concatenate([np.repeat(np.append(np.full(148, 0.9), [0.2, 0.2]), sizes), ok])
        defect, groups = np.arange(len(scores)) < len(group), np.append(group, [f"ok{n}" for n in range(50)])
        found = certify(scores, defect, groups, 0.05, 0.95)
        assert found.certified
        assert found.escape_rate.value == pytest.approx(400 / 548)
        assert "at most 4.14 % of the defects (tiles, each surface counting the same) escape" in found.sentence
        assert "Of the tiles at hand 73 % (" in found.sentence

    def test_the_threshold_is_the_largest_that_can_be_certified(self):
        scores, defect, group = labelled(700, tiles=1)
        found = certify(scores, defect, group, 0.01, 0.95)
        one_higher = np.sort(scores[defect])[found.escaped_groups + 1]
        escapes_then = int((scores[defect] < one_higher).sum())
        assert escape_bound(escapes_then, 700, 0.95) > 0.01

    def test_a_larger_budget_never_costs_more(self):
        found = [certify(*labelled(700), budget, 0.95) for budget in (0.001, 0.005, 0.01, 0.05, 0.2)]
        reviews = [each.thresholds.review for each in found]
        assert reviews == sorted(reviews)
        overkill = [each.overkill.value for each in found]
        assert overkill == sorted(overkill, reverse=True)

    def test_the_overkill_it_costs_is_that_of_the_ok_tiles(self):
        scores, defect, group = labelled(700)
        found = certify(scores, defect, group, 0.05, 0.95, defect_overkill=0.02)
        assert found.overkill.value == (scores[~defect] >= found.thresholds.review).mean()
        assert found.overkill.low < found.overkill.value < found.overkill.high
        assert found.overkill_defect.value == (scores[~defect] >= found.thresholds.defect).mean() <= 0.02

    def test_order_and_repeated_tiles_of_a_surface_change_nothing(self):
        scores, defect, group = labelled(400)
        shuffled = np.random.default_rng(1).permutation(len(scores))
        assert certify(scores, defect, group, 0.02, 0.9) == certify(
            scores[shuffled], defect[shuffled], group[shuffled], 0.02, 0.9
        )

    def test_more_tiles_of_the_same_surfaces_are_no_more_evidence(self):
        few, many = (certify(*labelled(41, tiles=tiles), 0.01, 0.95) for tiles in (1, 100))
        assert few.escape_bound == many.escape_bound

    def test_it_goes_into_json_and_comes_back(self):
        found = certify(*labelled(41), 0.01, 0.95)
        assert CertifiedThresholds.model_validate_json(found.model_dump_json()) == found

    @pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
    def test_all_tiles_alike(self, value):
        _, defect, group = labelled(400)
        found = certify(np.full(len(defect), value), defect, group, 0.01, 0.95)
        assert found.thresholds.review == value
        assert found.escape_rate.value == 0
        assert found.overkill.value == 1

    def test_one_defect_proves_next_to_nothing(self):
        found = certify(*labelled(1), 0.01, 0.95)
        assert not found.certified
        assert found.escape_bound == pytest.approx(0.95)

    def test_a_label_that_is_missing(self):
        scores, defect, group = labelled(5)
        with pytest.raises(DataFault, match="no defect tiles"):
            certify(scores, np.zeros_like(defect), group, 0.01, 0.95)
        with pytest.raises(DataFault, match="no ok tiles"):
            certify(scores, np.ones_like(defect), group, 0.01, 0.95)

    def test_a_broken_network_gets_no_thresholds(self):
        scores, defect, group = labelled(5)
        scores[3] = np.nan
        with pytest.raises(DataFault, match="1 of 115 probabilities are not numbers"):
            certify(scores, defect, group, 0.01, 0.95)

    @pytest.mark.parametrize("budget", [{"max_escape": 0}, {"max_escape": 1}, {"confidence": 1.0}, {"confidence": 95}])
    def test_a_budget_that_is_none(self, budget):
        with pytest.raises(UsageFault, match=next(iter(budget))):
            certify(*labelled(5), **({"max_escape": 0.01, "confidence": 0.95} | budget))


class TestIndependentScores:
    scores = np.array([0.1, 0.9, 0.5, 0.3])
    group = np.array(["a", "a", "a", "b"])

    def test_a_surface_escapes_whole(self):
        assert independent_scores(self.scores, self.group, EscapeOf.SURFACE).tolist() == [0.9, 0.3]

    def test_a_frame_is_called_by_one_tile(self):
        frames = np.array([7, 7, 7, 8])
        assert independent_scores(self.scores, self.group, EscapeOf.FRAME, frames).tolist() == [0.9, 0.3]

    def test_frames_must_be_known(self):
        with pytest.raises(ValueError, match="frame=None"):
            independent_scores(self.scores, self.group, EscapeOf.FRAME)

    def test_every_tile_of_a_group_is_drawn_as_often(self):
        group = np.repeat(np.arange(4000).astype(str), 4)
        drawn = independent_scores(np.tile(np.arange(4.0), 4000), group, EscapeOf.TILE)
        counts = np.bincount(drawn.astype(int))
        assert abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


class TestTheBinomialPromise:
    @given(st.integers(1, 5000), st.floats(0.001, 0.5), st.floats(0.5, 0.999))
    def test_allowed_escapes_are_the_most_that_a_binomial_test_allows(self, groups, max_escape, confidence):
        allowed = allowed_escapes(groups, max_escape, confidence)
        most = -1 if allowed is None else allowed
        assert most < 0 or binom.cdf(most, groups, max_escape) <= 1 - confidence + 1e-9
        assert binom.cdf(most + 1, groups, max_escape) > 1 - confidence - 1e-9

    @given(st.floats(0.001, 0.5), st.floats(0.5, 0.999))
    def test_the_groups_needed_suffice_and_one_fewer_does_not(self, max_escape, confidence):
        needed = groups_needed(max_escape, confidence)
        assert escape_bound(0, needed, confidence) <= max_escape * (1 + 1e-9)
        assert needed == 1 or escape_bound(0, needed - 1, confidence) > max_escape * (1 - 1e-9)
