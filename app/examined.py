"""Coils as they were examined last: page, map and report of one moment rest on one reading of its record."""

import threading
from collections import OrderedDict
from typing import NamedTuple

from sqlalchemy import Connection

from app.coil.examination import CoilRow, Examination, examine
from app.plant import Plant
from app.store import coils

# A heavy coil has some 70,000 events in a few MB; people look at one or two at a time.
KEPT = 8


class _Kept(NamedTuple):
    standing: coils.Standing
    coil: CoilRow
    examination: Examination


class Examinations:
    """The latest few, each as long as nothing was added to its coil and nobody reviewed anything. From any thread."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._changing = threading.Lock()

    def of(self, connection: Connection, coil: CoilRow) -> Examination:
        """All that follows from the coil's record as this connection sees it."""
        standing = coils.standing(connection, coil)
        with self._changing:
            kept = self._kept.get(coil.number)
        if kept is not None and (kept.standing, kept.coil) == (standing, coil):
            return kept.examination
        examination = examine(coils.evidence(connection, coil, self._plant.coverage.tolerance_mm), self._plant)
        with self._changing:
            self._kept[coil.number] = _Kept(standing, coil, examination)
            self._kept.move_to_end(coil.number)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return examination
