"""Events on a strip, made up: at chosen places, at random, or once in each turn of a roll."""

import numpy as np

from app.coil.events import EventRow, Events


def events_at(position_mm, across_mm, *, length_mm=8.0, pixel_mm=0.25, **fields):
    """Events with their middle there. `fields`: one value for all, or one for each."""
    position_mm, across_mm = np.asarray(position_mm, float), np.asarray(across_mm, float)
    side_px = round(length_mm / pixel_mm)
    count = len(position_mm)
    columns = {
        "number": np.arange(1, count + 1), "inspection": np.arange(1, count + 1), "camera_id": "c1", "side": "top",
        "x": 0, "y": 0, "width": side_px, "height": side_px, "defect_probability": 0.9, "defect_class": "dent",
        "continued": False, "position_mm": position_mm - length_mm / 2, "length_mm": length_mm,
        "across_mm": across_mm - length_mm / 2, "width_mm": length_mm, "review": None,
    } | fields  # fmt: skip
    spread = {name: value if np.ndim(value) else [value] * count for name, value in columns.items()}
    return Events.of(list(zip(*(spread[name] for name in EventRow._fields), strict=True)))


def scattered(rng, count, length_mm, width_mm):
    """Positions along and across of so many events anywhere on the strip."""
    return rng.uniform(0, length_mm, count), rng.uniform(0, width_mm, count)


def marks(rng, interval_mm, length_mm, across_mm, *, jitter_mm=5.0, missed=0.25):
    """Positions along and across of what a roll leaves: one mark a turn, of which some are not seen."""
    turns = np.arange(rng.uniform(0, interval_mm), length_mm, interval_mm)
    turns = turns[rng.random(len(turns)) >= missed]
    return turns + rng.normal(0, jitter_mm, len(turns)), across_mm + rng.normal(0, jitter_mm, len(turns))


def together(*places):
    """Positions of several kinds, as one."""
    return tuple(np.concatenate(parts) for parts in zip(*places, strict=True))


def on_tiles(position_mm, across_mm, tile_mm=32.0):
    """The tiles that places lie on: middles as an inspection tells them."""
    return tuple(np.floor(np.asarray(each) / tile_mm) * tile_mm + tile_mm / 2 for each in (position_mm, across_mm))
