"""The desk's own scripts and styles, under addresses that change with what they contain."""

import hashlib
from functools import cache
from pathlib import Path

from nicegui import ui

STATIC = Path(__file__).parent / "static"


@cache
def static_url(name: str) -> str:
    """Where a browser finds a file of `static/`: by content, so that it never shows a new page in an old dress."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"


def style(name: str, *, everywhere: bool = False) -> None:
    """A style sheet for the page that is being built, or for all."""
    ui.add_head_html(f'<link rel="stylesheet" href="{static_url(name)}">', shared=everywhere)


def script(name: str) -> None:
    """A script for all pages."""
    ui.add_head_html(f'<script src="{static_url(name)}"></script>', shared=True)
