"""Waits for what happens beside a test: in another thread, task or process."""

import asyncio
import time
from collections.abc import Callable

import httpx

WITHIN_S = 30
AGAIN_S = 0.01


async def until(true: Callable[[], object]) -> None:
    """Raises TimeoutError where it does not come true."""
    async with asyncio.timeout(WITHIN_S):
        while not true():
            await asyncio.sleep(AGAIN_S)


def wait_until(true: Callable[[], object]) -> None:
    """The same in a test that is no coroutine. A server that cannot be reached makes it untrue."""
    deadline = time.monotonic() + WITHIN_S
    while not _reached(true):
        assert time.monotonic() < deadline, f"did not come true within {WITHIN_S} s"
        time.sleep(AGAIN_S)


def _reached(true: Callable[[], object]) -> object:
    try:
        return true()
    except httpx.TransportError:
        return False
