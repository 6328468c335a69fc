"""All faults, in the order of the table."""

from tests.faults.fault import Fault
from tests.faults.kinds import databases, files, processes, surroundings

FAULTS: list[Fault] = [*processes.FAULTS, *files.FAULTS, *databases.FAULTS, *surroundings.FAULTS]
