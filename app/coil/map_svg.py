"""The map as SVG: one element to put into a page or a file, with nothing to load and nothing to run."""

from html import escape

from app.coil.marks import Look, outline
from app.coil.scene import Box, Hatched, Line, Mark, Piece, Scene, Words

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HATCH = "steelsight-hatch"
LOOK = "steelsight-look"


def svg(scene: Scene) -> str:
    """The picture as an `svg` element. Whatever clients named is escaped.

    >>> from app.coil.scene import Scene
    >>> "<script>" in svg(Scene(10, 10, "<script>", (Words(0, 0, "<script>"),)))
    False
    """
    used = {piece.look: f"{LOOK}-{place}" for place, piece in enumerate(_marks(scene.pieces))}
    width, height = _short(scene.width), _short(scene.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="{FONT}"><title>{_said(scene.title)}</title>',
        f'<defs><pattern id="{HATCH}" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff" fill-opacity=".75"/>'
        '<rect width="2" height="6" fill="#8f1d1d"/></pattern>',
        *(_symbol(look, name) for look, name in used.items()),
        '</defs><rect width="100%" height="100%" fill="#fff"/>',
        *(_painted(piece, used) for piece in scene.pieces),
        "</svg>",
    ]
    return "".join(parts)


def _marks(pieces: tuple[Piece, ...]) -> list[Mark]:
    """One of each look."""
    return list({piece.look: piece for piece in pieces if isinstance(piece, Mark)}.values())


def _symbol(look: Look, name: str) -> str:
    corners = " ".join(f"{x:g},{y:g}" for x, y in outline(look.shape))
    paint = f'fill="#fff" stroke="{look.colour}" stroke-width=".5"' if look.shape == "ring" else (
        f'fill="{look.colour}" stroke="#fff" stroke-width=".2"'
    )  # fmt: skip
    return f'<polygon id="{name}" points="{corners}" {paint}/>'


def _painted(piece: Piece, used: dict[Look, str]) -> str:
    match piece:
        case Box():
            edge = f' stroke="{piece.edge}"' if piece.edge else ""
            return f'<rect {_place(piece)} fill="{piece.fill}"{edge}/>'
        case Hatched():
            title = f"<title>{_said(piece.title)}</title>"
            return (
                f'<rect {_place(piece)} fill="url(#{HATCH})" stroke="{piece.colour}" stroke-width=".7">{title}</rect>'
            )
        case Line():
            ends = " ".join(f'{name}="{_short(getattr(piece, name))}"' for name in ("x1", "y1", "x2", "y2"))
            dashes = ' stroke-dasharray="7 4" stroke-width="1.6"' if piece.dashed else ""
            return f'<line {ends} stroke="{piece.colour}"{dashes}/>'
        case Words():
            weight = ' font-weight="600"' if piece.bold else ""
            anchor = f' text-anchor="{piece.anchor}"' if piece.anchor != "start" else ""
            # White around the letters: they stay readable over marks and hatching.
            return (
                f'<text x="{_short(piece.x)}" y="{_short(piece.y)}" font-size="{piece.size:g}" fill="{piece.colour}"'
                f'{anchor}{weight} paint-order="stroke" stroke="#fff" stroke-width="2.5" stroke-linejoin="round">'
                f"{_said(piece.text)}</text>"
            )
        case Mark():
            event = f' data-event="{piece.event}"' if piece.event is not None else ""
            move = f"translate({_short(piece.x)} {_short(piece.y)})scale({piece.size:g})"
            title = f"<title>{_said(piece.title)}</title>" if piece.title else ""
            return f'<use href="#{used[piece.look]}" transform="{move}"{event}>{title}</use>'


def _place(piece: Box | Hatched) -> str:
    fields = ("x", "y", "width", "height")
    return " ".join(f'{name}="{_short(getattr(piece, name))}"' for name in fields)


def _said(text: str) -> str:
    """Escaped; XML cannot hold the control characters at all, nor half a surrogate pair."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
