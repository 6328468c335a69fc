"""Records to read: databases with rows in them, and applications whose routes read theirs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture
def record(database: Any) -> Any:
    """An empty record, of each kind of database in turn."""
    return database


@pytest.fixture(scope="module")
async def reading(start: Any, tiny_models: Path) -> AsyncIterator[Any]:
    """One ready application for a module, with a record of its own that keeps every image."""
    async with start(models=tiny_models, sample_ok=1.0) as running:
        await running.until_ready()
        yield running


@pytest.fixture
def http(reading: Any) -> httpx.AsyncClient:
    """Client of `reading`."""
    return reading.http
