"""Requests made up from the description of the service: a few of each kind; `python -m benchmarks.fuzz` sends more."""

from pathlib import Path

import pytest

from benchmarks.fuzz import a_key, fuzz, listening


@pytest.mark.parametrize("access", ["keys", "open"])
def test_what_the_description_says_is_what_is_answered(access, tiny_models: Path, tmp_path: Path):
    token = a_key(tmp_path) if access == "keys" else None
    with listening(tmp_path, tiny_models, access) as url:
        cases, wrong = fuzz(url, token, seed=1, most=2)
    assert not wrong, wrong
    assert cases > 300
