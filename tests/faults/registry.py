"""All faults, in the order of the table."""

from tests.faults.fault import Fault
from tests.faults.kinds import clients, databases, files, models, processes, surroundings

FAULTS: list[Fault] = [
    *processes.FAULTS,
    *files.FAULTS,
    *databases.FAULTS,
    *clients.FAULTS,
    *surroundings.FAULTS,
    *models.FAULTS,
]
