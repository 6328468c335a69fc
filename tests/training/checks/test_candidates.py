"""Pairs that point the same way are found, each once, whatever the number of vectors."""

import numpy as np
import pytest

from training.checks.candidates import MOST_A_ROW, bucket_pairs, candidate_pairs


def noisy_twins(count: int, noise: float, dimensions: int = 64) -> np.ndarray:
    """Unit vectors (2 * count, dimensions); i and i + count are twins that correlate by 1 / (1 + noise^2)."""
    rng = np.random.default_rng(0)
    surfaces = np.tile(rng.normal(size=(count, dimensions)), (2, 1))
    seen = surfaces + noise * rng.normal(size=surfaces.shape)
    return (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)


def test_all_pairs_are_found_over_block_borders():
    vectors = noisy_twins(3000, 0.5)
    products = np.triu(vectors @ vectors.T, 1)
    expected = np.argwhere(products >= 0.6)
    assert len(expected) > 2900
    assert candidate_pairs(vectors, 0.6).tolist() == expected.tolist()


@pytest.mark.parametrize(("noise", "least", "recall"), [(0.2, 0.8, 0.99), (0.5, 0.6, 0.85)])
def test_landmarks_miss_few_pairs_and_invent_none(noise, least, recall):
    vectors = noisy_twins(3000, noise)
    every = {tuple(pair) for pair in candidate_pairs(vectors, least).tolist()}
    found = [tuple(pair) for pair in candidate_pairs(vectors, least, exhaustive=100).tolist()]
    assert len(found) == len(set(found))
    assert set(found) <= every
    assert len(found) >= recall * len(every)


def test_buckets_find_most_close_pairs_and_invent_none():
    vectors = noisy_twins(3000, 0.2)
    every = {tuple(pair) for pair in candidate_pairs(vectors, 0.9).tolist()}
    found = {tuple(pair) for pair in bucket_pairs(vectors, 0.9).tolist()}
    assert found <= every
    assert len(found) > 0.5 * len(every)


def test_vectors_that_are_all_alike_do_not_become_all_pairs_and_stay_connected():
    vectors = np.tile(noisy_twins(1, 0.0)[:1], (1000, 1))
    pairs = candidate_pairs(vectors, 0.9)
    assert len(pairs) <= 1000 * MOST_A_ROW
    assert len(bucket_pairs(vectors, 0.9)) <= 1000 * MOST_A_ROW


@pytest.mark.parametrize("search", [candidate_pairs, bucket_pairs])
@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_vectors_have_no_pair(search, count):
    assert search(np.ones((count, 8), np.float32), 0.5).shape == (0, 2)


def test_a_vector_of_zeros_is_like_nothing():
    assert len(candidate_pairs(np.zeros((50, 8), np.float32), 0.5)) == 0
