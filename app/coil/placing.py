"""Where across the strip each camera looks: from the plant file, or side by side where that does not say."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.coil.counting import View
from app.coil.events import Events, Floats
from app.plant import Plant

# Of a camera that no frame tells the scale of: as wide as a narrow strip, so that it has a lane on the map.
UNKNOWN_WIDTH_MM = 500.0


class Sighting(NamedTuple):
    """A view of a coil. width_mm: of the widest frame."""

    view: View
    width_mm: float | None


@dataclass(frozen=True)
class Place:
    """What a camera sees across the strip. assumed: the plant file does not name it."""

    camera_id: str | None
    side: str | None
    across_mm: float
    width_mm: float
    assumed: bool


class Views:
    """Which view a frame is of: on the side that it says, else on the plant file's, else on the one that its camera
    says most often.

    >>> of = Views(Plant(), [(View("c1", "top"), 9), (View("c1", None), 1)])
    >>> of(View("c1", None)), of(View("c1", "bottom"))
    (View(camera_id='c1', side='top'), View(camera_id='c1', side='bottom'))
    """

    def __init__(self, plant: Plant, told: Iterable[tuple[View, int]]) -> None:
        """told: what frames say, and how many."""
        counts: dict[str | None, Counter[str]] = {}
        for view, frames in told:
            if view.side is not None:
                counts.setdefault(view.camera_id, Counter())[view.side] += frames
        self._usual = {camera_id: sides.most_common(1)[0][0] for camera_id, sides in counts.items()}
        self._usual |= {camera.id: camera.side for camera in plant.cameras}

    def __call__(self, told: View) -> View:
        return told if told.side is not None else View(told.camera_id, self._usual.get(told.camera_id))


def places(plant: Plant, sightings: Iterable[Sighting]) -> dict[View, Place]:
    """By view. Cameras of one side that the plant file does not name lie beside the others, in order of their ids.

    >>> both = [Sighting(View("b", "top"), 400.0), Sighting(View("a", "top"), 300.0)]
    >>> [(place.camera_id, place.across_mm, place.assumed) for place in places(Plant(), both).values()]
    [('a', 0.0, True), ('b', 300.0, True)]
    """
    known = {camera.id: camera for camera in plant.cameras}
    ordered = sorted(sightings, key=lambda each: (each.view.side or "", each.view.camera_id or ""))
    placed: dict[View, Place] = {}
    free: dict[str | None, float] = {}
    for named in (True, False):
        for view, width_mm in ordered:
            camera = known.get(view.camera_id) if view.camera_id is not None else None
            if (camera is not None) is not named:
                continue
            across = camera.across_mm if camera else free.get(view.side, 0.0)
            width = width_mm or UNKNOWN_WIDTH_MM
            placed[view] = Place(*view, across, width, assumed=camera is None)
            free[view.side] = max(free.get(view.side, 0.0), across + width)
    return placed


def strip_across(events: Events, placed: Mapping[View, Place]) -> Floats:
    """From the strip's edge to the first column of each event, in mm; NaN where it is not known."""
    offsets = {view: place.across_mm for view, place in placed.items()}
    return events.across_mm + np.array([offsets.get(view, np.nan) for view in events.views], np.float64)
