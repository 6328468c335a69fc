"""When a process was stopped, swapped out or starved: what came meanwhile lay in the system's buffers, unseen.

A frame's deadline counts from its arrival, and the moment at which one reads it says nothing of that then: whatever
is read right after a stall may be as old as the stall is long, and is taken to be.
"""

import asyncio
import time

BEAT_S = 0.25
# A busy loop is late by some tenths of a second; a longer pause is none of its own.
STALL_S = 1.0


class Heartbeat:
    """Beats on the event loop, and knows from its pauses how old a request may be that is read now."""

    def __init__(self) -> None:
        self._last_beat = time.perf_counter()
        self._since = 0.0
        self._until = 0.0

    async def run(self) -> None:
        """Beat until cancelled."""
        self._last_beat = time.perf_counter()
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat(time.perf_counter())

    def beat(self, now: float) -> None:
        """The loop is alive. now: `time.perf_counter()`.

        >>> heart = Heartbeat()
        >>> heart.beat(100.0); heart.beat(130.0)
        >>> heart.arrival(130.1)
        100.0
        >>> heart.beat(130.5)
        >>> heart.arrival(130.6)
        130.6
        """
        if now - self._last_beat > BEAT_S + STALL_S:
            self._since, self._until = self._last_beat, now + BEAT_S
        self._last_beat = now

    def arrival(self, now: float) -> float:
        """The earliest moment at which a request may have come that is read at `now`."""
        # Read before the late beat itself, or just after it.
        if now - self._last_beat > BEAT_S + STALL_S:
            return self._last_beat
        return self._since if now < self._until else now
