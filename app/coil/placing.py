"""Where across the strip each camera looks: from the plant file, or side by side where that does not say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.coil.events import Events, Floats
from app.plant import Plant

# Of a camera that no frame tells the scale of: as wide as a narrow strip, so that it has a lane on the map.
UNKNOWN_WIDTH_MM = 500.0


class Sighting(NamedTuple):
    """A camera of a coil as its frames tell it. width_mm: of the widest frame."""

    camera_id: str | None
    side: str | None
    width_mm: float | None


@dataclass(frozen=True)
class Place:
    """What a camera sees across the strip. assumed: the plant file does not name it."""

    camera_id: str | None
    side: str | None
    across_mm: float
    width_mm: float
    assumed: bool


def side_of(plant: Plant, camera_id: str | None, told: str | None) -> str | None:
    """The side that the frames say, else the plant file's."""
    if told is not None:
        return told
    return next((camera.side for camera in plant.cameras if camera.id == camera_id), None)


def places(plant: Plant, sightings: Iterable[Sighting]) -> dict[str | None, Place]:
    """By camera. Cameras of one side that the plant file does not name lie beside the others, in order of their ids.

    >>> both = [Sighting("b", "top", 400.0), Sighting("a", "top", 300.0)]
    >>> [(place.camera_id, place.across_mm, place.assumed) for place in places(Plant(), both).values()]
    [('a', 0.0, True), ('b', 300.0, True)]
    """
    known = {camera.id: camera for camera in plant.cameras}
    ordered = sorted(sightings, key=lambda each: (each.side or "", each.camera_id or ""))
    placed: dict[str | None, Place] = {}
    free: dict[str | None, float] = {}
    for named in (True, False):
        for each in ordered:
            camera = known.get(each.camera_id) if each.camera_id is not None else None
            if (camera is not None) is not named:
                continue
            across = camera.across_mm if camera else free.get(each.side, 0.0)
            width = each.width_mm or UNKNOWN_WIDTH_MM
            placed[each.camera_id] = Place(each.camera_id, each.side, across, width, assumed=camera is None)
            free[each.side] = max(free.get(each.side, 0.0), across + width)
    return placed


def strip_across(events: Events, placed: Mapping[str | None, Place]) -> Floats:
    """From the strip's edge to the first column of each event, in mm; NaN where it is not known."""
    offsets = {camera_id: place.across_mm for camera_id, place in placed.items()}
    return events.across_mm + np.array([offsets.get(camera_id, np.nan) for camera_id in events.camera_id], np.float64)
