"""What comes from others: no version with a known hole in any lock file, and no licence that nobody has read."""

import re
from pathlib import Path

import pytest
from packaging.version import Version
from pysqlite3 import dbapi2

from supply import sbom
from supply.licences import Package, Policy, installed, refused

ROOT = Path(__file__).parents[1]
# The first releases without the holes that are known of those before.
FLOORS = {
    "h11": "0.16.0",
    "keras": "3.15.1",
    "pillow": "12.3.0",
    "python-multipart": "0.0.31",
    "starlette": "1.3.1",
}
# Not every lock has each of them: serving brings no Keras, and nothing of ours that speaks h11 may go missing unseen.
ONLY_IN = {"keras": {"requirements.lock", "requirements-gpu.lock"}}
SQLITE_FLOOR = (3, 51, 3)


@pytest.mark.parametrize("lock", sbom.LOCKS.values())
def test_no_lock_file_has_a_release_with_a_known_hole(lock: str) -> None:
    found = {name: Version(version) for name, version in sbom.locked(lock).items()}
    assert len(found) > 50
    for name, floor in FLOORS.items():
        if lock in ONLY_IN.get(name, {lock}):
            assert found[name] >= Version(floor), f"{lock}: {name} {found[name]}; at least {floor} is needed"


@pytest.mark.parametrize("lock", sbom.LOCKS.values())
def test_every_package_of_a_lock_file_is_pinned_by_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_sqlite_that_is_loaded_is_recent_enough() -> None:
    assert dbapi2.sqlite_version_info >= SQLITE_FLOOR


def test_every_installed_licence_is_in_the_policy() -> None:
    assert refused(installed(), Policy.read()) == []


@pytest.mark.parametrize(
    "says", ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND GPL-2.0-only", "Proprietary", "UNKNOWN", "", "LGPL-3.0-only"]
)
def test_what_is_in_no_policy_is_refused(says: str) -> None:
    assert refused([Package("new", "1", says)], Policy.read()) == [Package("new", "1", says)]


def test_an_exception_is_of_one_package_and_of_what_it_says_today() -> None:
    policy = Policy.read()
    assert policy.accepts(Package("docutils", "1", policy.packages["docutils"]))
    assert not policy.accepts(Package("docutils", "1", "GPL-3.0-only"))
