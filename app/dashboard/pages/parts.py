"""A part of a page that follows what it shows, without losing the eye's place while nothing has changed."""

from collections.abc import Callable

from nicegui.element import Element


class Part(Element):
    """Built anew when, and only when, what it shows has changed."""

    def __init__(self, classes: str = "part") -> None:
        super().__init__("div")
        self.classes(classes)
        self._shown: object = Part

    def show(self, data: object, build: Callable[[], None]) -> None:
        """Build from `data`, unless it is what stands there."""
        if data == self._shown:
            return
        self._shown = data
        self.clear()
        with self:
            build()
