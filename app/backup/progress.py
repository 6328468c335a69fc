"""How far a long command is: a line on stderr every few seconds."""

import sys
import time

EVERY_S = 5.0


class Progress:
    """Quiet for what is done within `EVERY_S`."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def tell(self, what: str, done: int, of: int | None = None) -> None:
        """So much of something is done; of: how much there is."""
        now = time.monotonic()
        if now - self._told_at >= EVERY_S:
            self._told_at = now
            print(f"  {what}: {done}{'' if of is None else f' of {of}'}", file=sys.stderr, flush=True)
