"""The short form of the fault table: ten of the faults, each once and briefly. `make faults` plays all."""

import pytest

from tests.faults.fault import play
from tests.faults.registry import FAULTS

SHORT = [
    "kill -9 of the server",
    "kill -9 inside a commit",
    "SIGTERM",
    "disk full: database",
    "disk full: archive",
    "fsync fails",
    "SQLite locked for 30 s by another process",
    "clock a day forth and back",
    "log pipe blocked",
    "two servers on one data root",
]
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_costs_nothing_that_was_acknowledged(name, tiny_models):
    play(BY_NAME[name], tiny_models, longest_s=1.5)


def test_each_fault_has_a_name_of_its_own():
    assert len(BY_NAME) == len(FAULTS)
