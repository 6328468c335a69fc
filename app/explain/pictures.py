"""Numbers -> PNG files, drawn so that each value can be told: whole squares of pixels, one scale a picture.

The colours rise in lightness, or fall away on both sides of a light middle; none differ in red and green
alone.
"""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.explain import schemas
from app.explain.schemas import Colours
from model.feature_maps import Activations
from model.heatmap import colour_table
from model.image import Frame

# Dark blue, white, dark brown over orange: as light on one side as on the other, and apart with any colour blindness.
SIGNED_STOPS = np.array(
    [
        (12, 44, 96),
        (38, 102, 172),
        (116, 170, 216),
        (196, 220, 238),
        (246, 246, 242),
        (250, 214, 168),
        (236, 152, 78),
        (186, 92, 22),
        (104, 48, 8),
    ],
    np.float64,
)
# How many colours. Grey as the camera has it; of the others as many as are told apart in a map: with twice as many,
# files are a sixth larger. An odd number gives 0 the middle colour.
STEPS: dict[Colours, int] = {"grey": 255, "strength": 32, "signed": 33}
# Of grey under heat, for the same reason.
MIXED_COLOURS = 64
GAP = 3
# Pixels across a sheet, roughly: past this small maps are enlarged no more. Enlarged, a cell takes twice the bytes, and
# a page can do that itself (`image-rendering: pixelated`).
SHEET_PX = 768
LARGEST_ONE_PX = 384
# More maps than this would be too small to see anything in.
MAPS_SHOWN = 256
# Cells in one sheet: past this each map is reduced. 16 maps of 126 x 126, the first ones of steel-128, are 254,016.
MOST_CELLS = 2**18
# Grey under the heat is drawn between these, so that the heat is what is brightest and darkest.
DARKEST, BRIGHTEST = 30, 225


def colours() -> dict[Colours, list[str]]:
    """The tables in words that a page can draw a legend with: 9 steps each.

    >>> colours()["grey"][0], len(colours()["signed"])
    ('#000000', 9)
    """
    return {name: ["#" + step.tobytes().hex() for step in table(name, 9)] for name in STEPS}


def table(name: Colours, steps: int = 0) -> npt.NDArray[np.uint8]:
    """Colours from the lowest value to the highest, as many as a picture has unless said: uint8 (steps, 3)."""
    at = np.linspace(0, 255, steps or STEPS[name])
    if name == "grey":
        return np.repeat(at.round().astype(np.uint8)[:, np.newaxis], 3, axis=1)
    if name == "strength":
        return np.asarray(colour_table()[at.round().astype(int)])
    stops = np.linspace(0, 255, len(SIGNED_STOPS))
    channels = [np.interp(at, stops, SIGNED_STOPS[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)


def sheet(maps: Activations, *, as_grey: bool = False, held: float = 1, one_px: int = LARGEST_ONE_PX) -> schemas.Sheet:
    """All maps of (height, width, n) side by side on one scale; of more than `MAPS_SHOWN`, the strongest.

    as_grey: they are the tile itself in another unit. held: share of the values that the scale is to hold, as for
    `scale`. one_px: how large one map may become.
    """
    strength = np.abs(maps).max(axis=(0, 1))
    numbers = np.sort(np.argsort(-strength, kind="stable")[:MAPS_SHOWN])
    name, low, high = _grey_scale(maps) if as_grey else scale(maps, held)
    return _laid_out(np.moveaxis(maps[..., numbers], 2, 0), name, low, high, numbers.tolist(), maps.shape[2], one_px)


def strip(vector: Activations, rows: int) -> schemas.Picture:
    """A vector in its order, broken into so many rows, each as high as can be seen; long rows are reduced.

    Reduced, a dot has the strongest of the numbers that share it.
    """
    name, low, high = scale(vector)
    laid = vector.reshape(rows, -1)
    shared = -(-laid.shape[1] // SHEET_PX)
    padded = np.pad(laid, ((0, 0), (0, -laid.shape[1] % shared))).reshape(rows, -1, shared)
    chosen = np.abs(padded).argmax(axis=2)[..., np.newaxis]
    levels = _levels(np.take_along_axis(padded, chosen, axis=2)[..., 0], name, low, high)
    high_px, wide_px = max(1, 192 // rows), max(1, SHEET_PX // levels.shape[1])
    return _palette_png(levels.repeat(high_px, axis=0).repeat(wide_px, axis=1), name, low, high)


def one_grey(tile: Frame) -> schemas.Sheet:
    """A tile as it is, from black to white."""
    return _laid_out(tile[np.newaxis].astype(np.float32), "grey", 0, 255, [0], 1, LARGEST_ONE_PX)


def over(frame: Frame, heat: Activations) -> schemas.Picture:
    """Heat over a grey picture of the same shape: the stronger, the less it lets through."""
    name, low, high = scale(heat)
    enlarged = max(1, LARGEST_ONE_PX // max(frame.shape))
    strength = np.abs(heat) / (max(abs(low), abs(high)) or 1)
    cover = (0.85 * strength**0.7)[..., np.newaxis]
    ground = (DARKEST + frame * ((BRIGHTEST - DARKEST) / 255))[..., np.newaxis]
    mixed = np.rint(ground * (1 - cover) + table(name, 256)[_levels(heat, name, low, high, 256)] * cover).astype(
        np.uint8
    )
    picture = Image.fromarray(mixed).quantize(MIXED_COLOURS, dither=Image.Dither.NONE)
    size = picture.width * enlarged, picture.height * enlarged
    return _png(picture.resize(size, Image.Resampling.NEAREST), name, low, high)


def scale(values: Activations, held: float = 1) -> tuple[Colours, float, float]:
    """Which colours a picture takes, and the values of the first and the last: from 0, or evenly around it.

    held: share of the values that lie within; the few past it are drawn in the last colour.

    >>> scale(np.array([0.0, 2.0], np.float32)), scale(np.array([-1.0, 0.5], np.float32))
    (('strength', 0.0, 2.0), ('signed', -1.0, 1.0))
    >>> scale(np.array([1.0] * 99 + [50.0], np.float32), held=0.9)
    ('strength', 0.0, 1.0)
    """
    sizes = np.abs(values)
    # Where hardly anything is above 0, whatever is counts.
    largest = float(np.quantile(sizes, held)) or float(sizes.max()) or 1.0
    return ("signed", -largest, largest) if values.min() < 0 else ("strength", 0.0, largest)


def _grey_scale(values: Activations) -> tuple[Colours, float, float]:
    low, high = float(values.min()), float(values.max())
    return "grey", low, high if high > low else low + 1


def strongest(maps: Activations, side: int) -> Activations:
    """The strongest value of each square of `side` cells, with its sign: (n, height, width) -> smaller, rounded up.

    >>> strongest(np.array([[[1, -3, 2], [0, 2, 0]]], np.float32), 2).tolist()
    [[[-3.0, 2.0]]]
    """
    if side == 1:
        return maps
    count, height, width = maps.shape
    padded = np.pad(maps, ((0, 0), (0, -height % side), (0, -width % side)))
    squares = padded.reshape(count, padded.shape[1] // side, side, padded.shape[2] // side, side)
    most, least = squares.max(axis=(2, 4)), squares.min(axis=(2, 4))
    return np.asarray(np.where(most >= -least, most, least))


def _laid_out(
    shown: Activations, name: Colours, low: float, high: float, numbers: list[int], maps: int, one_px: int
) -> schemas.Sheet:
    """Maps (n, height, width) as one picture."""
    reduced = 1
    while len(shown) * -(-shown.shape[1] // reduced) * -(-shown.shape[2] // reduced) > MOST_CELLS:
        reduced += 1
    levels = _levels(strongest(shown, reduced), name, low, high)
    columns = _columns(len(levels))
    enlarged = max(1, min(SHEET_PX // columns, one_px) // max(levels.shape[1:]))
    cells = levels.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    picture = _palette_png(_side_by_side(cells, columns, STEPS[name]), name, low, high)
    return schemas.Sheet(
        **picture.model_dump(),
        numbers=numbers,
        maps=maps,
        columns=columns,
        rows=-(-len(cells) // columns),
        cell_width=cells.shape[2],
        cell_height=cells.shape[1],
        gap=GAP,
        enlarged=enlarged,
        reduced=reduced,
    )


def _levels(values: Activations, name: Colours, low: float, high: float, steps: int = 0) -> npt.NDArray[np.uint8]:
    """Which colour of the table each value has."""
    shares = (np.clip(values, low, high) - low) / (high - low)
    return np.asarray(np.rint(shares * ((steps or STEPS[name]) - 1)), np.uint8)


def _columns(count: int) -> int:
    """Few maps in one row, up to 64 in rows of 8, more in rows of 16."""
    return min(count, 8 if count <= 64 else 16)


def _side_by_side(cells: npt.NDArray[np.uint8], columns: int, between: int) -> npt.NDArray[np.uint8]:
    """Cells (n, height, width) in rows of so many, `GAP` pixels apart; between: the level there."""
    count, height, width = cells.shape
    rows = -(-count // columns)
    laid = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), between, np.uint8)
    for place, cell in enumerate(cells):
        y, x = place // columns * (height + GAP), place % columns * (width + GAP)
        laid[y : y + height, x : x + width] = cell
    return laid


def _palette_png(levels: npt.NDArray[np.uint8], name: Colours, low: float, high: float) -> schemas.Picture:
    """Levels as a picture; the one past the table's last colour is seen through."""
    picture = Image.fromarray(levels)
    picture.putpalette([*table(name).ravel().tolist(), 0, 0, 0])
    return _png(picture, name, low, high, transparency=STEPS[name])


def _png(picture: Image.Image, name: Colours, low: float, high: float, **options: int) -> schemas.Picture:
    target = io.BytesIO()
    picture.save(target, "PNG", **options)
    source = "data:image/png;base64," + base64.b64encode(target.getvalue()).decode("ascii")
    return schemas.Picture(source=source, width=picture.width, height=picture.height, colours=name, low=low, high=high)


def file_of(picture: schemas.Picture) -> bytes:
    """The PNG file of a picture."""
    return base64.b64decode(picture.source.partition(",")[2])


def reduced_frame(frame: Frame, most: int) -> tuple[Frame, int]:
    """A frame as a picture of at most so many pixels: each the mean of a square, of so many pixels a side.

    >>> small, side = reduced_frame(np.zeros((100, 400), np.uint8), most=10_000)
    >>> small.shape, side
    ((50, 200), 2)
    """
    side = 1
    while -(-frame.shape[0] // side) * -(-frame.shape[1] // side) > most:
        side += 1
    return (frame if side == 1 else np.asarray(Image.fromarray(frame).reduce(side))), side


def enlarged_to(heat: Activations, shape: tuple[int, int]) -> Activations:
    """Heat over a resized frame, brought to the frame's own shape (height, width)."""
    height, width = shape
    return np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
