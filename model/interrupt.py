"""Ctrl-C at moments of our own choice.

Interrupted inside a step, a save or an import, TensorFlow and Keras may swallow it, or end in an error that tells of
something else. Between two steps nothing is half done.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

EXIT_INTERRUPTED = 130


class Interruptions:
    """While open, Ctrl-C is noted, and raised by the next `check` or at the end; a second one is raised at once.

    Where Ctrl-C is ignored, as in a shell's background, and outside the main thread, nothing changes.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        self._noting = threading.current_thread() is threading.main_thread() and callable(self._before)
        if self._noting:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._noting:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C was pressed since this was opened."""
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, signal_number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def importing() -> Iterator[None]:
    """For the imports of a command: Ctrl-C ends it as soon as they are done, as it does later, and not in a traceback.

    A second one ends it at once.
    """
    try:
        with Interruptions():
            yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
