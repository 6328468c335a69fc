"""Which pixels of the tile a cell of a map sees, followed from stage to stage of an explanation.

An explanation says of every stage how large it is and how many pixels a cell sees. That fixes window, step and padding
of each layer, and with them where every cell looks: the tests hold this to `model.feature_maps.reach`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Layers after which every cell stands where it stood.
IN_PLACE = frozenset({"pixels", "levelling", "rescaling", "normalisation", "activation", "dropout"})


@dataclass(frozen=True)
class Axis:
    """Along one axis, in px of the tile.

    first: centre of cell 0. step: from one cell to the next. field: how many pixels a cell sees.
    """

    first: float = 0.0
    step: float = 1.0
    field: int = 1

    def through(self, before: int, after: int, field: int, pooling: bool) -> "Axis":
        """Behind a layer that makes `after` cells of `before`, of which each sees `field` px.

        >>> Axis().through(128, 126, field=3, pooling=False)
        Axis(first=1.0, step=1.0, field=3)
        >>> Axis().through(128, 64, field=7, pooling=False)
        Axis(first=1.0, step=2.0, field=7)
        """
        window = 1 + round((field - self.field) / self.step)
        stride, padded = (window, 0) if pooling else _stride_and_padding(before, after, window)
        return Axis(self.first + ((window - 1) / 2 - padded) * self.step, self.step * stride, field)


def _stride_and_padding(before: int, after: int, window: int) -> tuple[int, int]:
    """Of a convolution: without padding where that fits, else padded so that only its stride makes the map smaller."""
    for stride in range(1, before + 1):
        if (before - window) // stride + 1 == after:
            return stride, 0
    stride = -(-before // after)
    return stride, max(0, (after - 1) * stride + window - before) // 2


def reaches(stages: Iterable[Mapping[str, Any]]) -> list[tuple[Axis, Axis] | None]:
    """For each stage its reach down and across; None where it has no places."""
    found: list[tuple[Axis, Axis] | None] = []
    down = across = Axis()
    for stage in stages:
        if len(stage["shape"]) != 3:
            found.append(None)
            continue
        if stage["kind"] not in IN_PLACE:
            pooling, field = stage["kind"] == "pooling", stage["sees_px"]
            (rows, columns, _), (after_rows, after_columns, _) = stage["input_shape"], stage["shape"]
            down = down.through(rows, after_rows, field, pooling)
            across = across.through(columns, after_columns, field, pooling)
        found.append((down, across))
    return found


def told(reach: tuple[Axis, Axis]) -> dict[str, dict[str, float]]:
    """For the browser, which follows the pointer with it."""
    down, across = reach
    return {"down": asdict(down), "across": asdict(across)}
