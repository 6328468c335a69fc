"""Rows of captioned tiles -> one PNG: many small pictures side by side, as a photographer looks through a film."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from model.image import Frame
from training.dataset import Mask

# Smaller tiles are enlarged by whole numbers until they have so many px a side: none of their pixels is made up.
LEAST_SIDE = 96
MARGIN, GAP = 8, 8
# For the row's caption on the left, and for the line above each picture, px.
CAPTION_WIDTH, LINE = 104, 17
TEXT_SIZE = 12
# A sheet has a ground of its own, so that it reads the same on a light and on a dark page.
GROUND, INK, QUIET, MARK = (250, 250, 249), (28, 33, 38), (92, 102, 112), (255, 120, 20)


@dataclass(frozen=True)
class Picture:
    """One tile, uint8 (size, size), its caption, and the outline to draw into it, if any."""

    tile: Frame
    caption: str
    mask: Mask | None = None


@dataclass(frozen=True)
class Row:
    """Pictures that belong together; None leaves a place empty."""

    caption: str
    pictures: Sequence[Picture | None]


def contact_sheet(rows: Sequence[Row]) -> bytes:
    """All rows on one PNG. All tiles have the same size."""
    tile = next(len(picture.tile) for row in rows for picture in row.pictures if picture)
    times = -(-LEAST_SIDE // tile)
    side = tile * times
    columns = max(len(row.pictures) for row in rows)
    width = 2 * MARGIN + CAPTION_WIDTH + columns * (side + GAP) - GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + len(rows) * (LINE + side + GAP) - GAP), GROUND)
    for number, row in enumerate(rows):
        top = MARGIN + number * (LINE + side + GAP)
        _write(sheet, (MARGIN, top + LINE), _wrapped(row.caption, CAPTION_WIDTH - GAP), INK)
        for column, picture in enumerate(row.pictures):
            if picture:
                left = MARGIN + CAPTION_WIDTH + column * (side + GAP)
                _write(sheet, (left, top), _fitting(picture.caption, side), QUIET)
                sheet.paste(Image.fromarray(_coloured(picture, times)), (left, top + LINE))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _coloured(picture: Picture, times: int) -> npt.NDArray[np.uint8]:
    """The tile enlarged, the mask's rim in colour: uint8 (side, side, 3)."""
    large = np.kron(picture.tile, np.ones((times, times), np.uint8))
    colours = np.repeat(large[..., np.newaxis], 3, axis=2)
    if picture.mask is not None:
        mask = np.kron(picture.mask, np.ones((times, times), np.bool_))
        colours[mask & ~binary_erosion(mask)] = MARK
    return colours


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT_SIZE)


def _write(sheet: Image.Image, at: tuple[int, int], text: str, ink: tuple[int, int, int]) -> None:
    ImageDraw.Draw(sheet).multiline_text(at, text, ink, _font(), spacing=3)


def _wrapped(text: str, width: int) -> str:
    """Lines of at most `width` px, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font().getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(_fitting(line, width) for line in lines)


def _fitting(text: str, width: int) -> str:
    """As much of a line as `width` px hold."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
