"""Databases of the tests' own for servers that die."""

from collections.abc import Iterator

import pytest

from tests.app import databases, postgresql

# As durable as it is in a plant, within what the death of processes can show.
DURABLE = "-c fsync=off -c full_page_writes=off -c max_connections=60"


@pytest.fixture(scope="session")
def durable_postgresql() -> Iterator[postgresql.Server]:
    """A running PostgreSQL whose commits are written before they are told."""
    postgresql.skip_without_postgresql()
    with postgresql.server(DURABLE) as server:
        yield server


@pytest.fixture
def empty_postgresql(durable_postgresql: postgresql.Server) -> Iterator[str]:
    """The URL of a database without tables."""
    with databases.postgresql(durable_postgresql, "template0") as database:
        yield database.url.set(drivername="postgresql").render_as_string(hide_password=False)
