"""How defect classes look on a map: each has a colour and a shape, so that colour is never the only sign."""

from collections.abc import Iterable
from typing import NamedTuple

# Told apart with any colour vision (Okabe and Ito 2008), without its yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#3B3B3B")
UNCLASSIFIED = "#6B7280"

Point = tuple[float, float]
# Outlines in a box from -1 to 1, y downwards.
SHAPES: dict[str, tuple[Point, ...]] = {
    "circle": (
        (0, -0.95), (0.67, -0.67), (0.95, 0), (0.67, 0.67), (0, 0.95), (-0.67, 0.67), (-0.95, 0), (-0.67, -0.67),
    ),
    "square": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
    "triangle": ((0, -1), (1, 0.8), (-1, 0.8)),
    "diamond": ((0, -1.1), (1.1, 0), (0, 1.1), (-1.1, 0)),
    "plus": (
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35), (0.35, 1), (-0.35, 1),
        (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ),
    "wedge": ((-1, -0.8), (1, -0.8), (0, 1)),
    "hourglass": ((-0.9, -0.9), (0.9, -0.9), (-0.9, 0.9), (0.9, 0.9)),
    "bar": ((-0.4, -1.1), (0.4, -1.1), (0.4, 1.1), (-0.4, 1.1)),
    "flag": ((-1, -0.5), (0, -0.5), (0, -1), (1, 0), (0, 1), (0, 0.5), (-1, 0.5)),
}  # fmt: skip
RING = "ring"


class Look(NamedTuple):
    """Of one defect class; None is what the model told no class of."""

    defect_class: str | None
    colour: str
    shape: str


def looks(defect_classes: Iterable[str | None]) -> dict[str | None, Look]:
    """Of each class there is, in order of name. Sixty-three classes differ in colour, shape or both.

    >>> [(look.defect_class, look.shape) for look in looks(["scratch", None, "dent"]).values()]
    [('dent', 'circle'), ('scratch', 'square'), (None, 'ring')]
    """
    found = set(defect_classes)
    named = sorted(name for name in found if name is not None)
    shapes = tuple(SHAPES)
    told: dict[str | None, Look] = {
        name: Look(name, COLOURS[place % len(COLOURS)], shapes[place % len(shapes)]) for place, name in enumerate(named)
    }
    if None in found:
        told[None] = Look(None, UNCLASSIFIED, RING)
    return told


def outline(shape: str) -> tuple[Point, ...]:
    """The corners of a shape; a ring is drawn as a circle that is not filled."""
    return SHAPES["circle" if shape == RING else shape]
