"""The map as PNG, for whatever shows no SVG: the same pieces, painted by Pillow."""

import io
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from app.coil.marks import RING, outline
from app.coil.scene import Box, Hatched, Line, Mark, Piece, Scene, Words

# Painted so much larger, and shrunk in the end: Pillow draws no smooth edges.
FINER = 2
HATCH_STEP, DASH, SPACE = 7, 7, 4
# Smaller files take several times as long: the map is drawn while somebody waits.
COMPRESSION = 4
ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(scene: Scene) -> bytes:
    """A PNG file of the scene's size in pixels."""
    size = round(scene.width), round(scene.height)
    image = Image.new("RGB", (size[0] * FINER, size[1] * FINER), "white")
    draw = ImageDraw.Draw(image)
    words = [piece for piece in scene.pieces if isinstance(piece, Words)]
    for piece in scene.pieces:
        if not isinstance(piece, Words):
            _paint(image, draw, piece)
    image = image.reduce(FINER)
    # Letters have smooth edges of their own, and are sharper if they are not shrunk.
    draw = ImageDraw.Draw(image)
    for piece in words:
        _write(draw, piece)
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=COMPRESSION)
    return target.getvalue()


@lru_cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Read once for each size: Pillow unpacks its font file anew each time."""
    return ImageFont.load_default(size)


def _write(draw: ImageDraw.ImageDraw, words: Words) -> None:
    font = _font(words.size)
    # Small letters would run together.
    heavier = 0.4 if words.bold and words.size > 12 else 0
    place = words.x, words.y
    draw.text(place, words.text, words.colour, font, ANCHORS[words.anchor], stroke_width=heavier)


def _paint(image: Image.Image, draw: ImageDraw.ImageDraw, piece: Piece) -> None:
    match piece:
        case Box():
            draw.rectangle(_corners(piece), fill=piece.fill, outline=piece.edge, width=FINER)
        case Hatched():
            _hatch(image, piece)
        case Line():
            _line(draw, piece)
        case Mark():
            corners = [
                (FINER * (piece.x + piece.size * x), FINER * (piece.y + piece.size * y))
                for x, y in outline(piece.look.shape)
            ]
            ring = piece.look.shape == RING
            fill, edge = ("white", piece.look.colour) if ring else (piece.look.colour, "white")
            draw.polygon(corners, fill=fill, outline=edge, width=2 * FINER if ring else FINER // 2)
        case Words():
            pass


def _corners(piece: Box | Hatched) -> tuple[float, float, float, float]:
    x, y = FINER * piece.x, FINER * piece.y
    return x, y, x + FINER * piece.width, y + FINER * piece.height


def _hatch(image: Image.Image, piece: Hatched) -> None:
    """On a picture of its own: lines end at its edge."""
    left, top, right, bottom = map(round, _corners(piece))
    width, height = max(1, right - left), max(1, bottom - top)
    patch = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(patch)
    for start in range(-height, width, HATCH_STEP * FINER):
        draw.line((start, height, start + height, 0), piece.colour, 2 * FINER)
    draw.rectangle((0, 0, width - 1, height - 1), outline=piece.colour)
    image.paste(patch, (left, top))


def _line(draw: ImageDraw.ImageDraw, line: Line) -> None:
    ends = [FINER * value for value in (line.x1, line.y1, line.x2, line.y2)]
    if not line.dashed:
        draw.line(ends, line.colour, FINER)
        return
    # Dashed lines lie along the strip.
    x, last, y = ends[0], ends[2], ends[1]
    while x < last:
        draw.line((x, y, min(x + DASH * FINER, last), y), line.colour, FINER + 1)
        x += (DASH + SPACE) * FINER
