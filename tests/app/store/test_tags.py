"""No two processes that write to one record have the same tag."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.store.database import open_database
from app.store.tags import claim
from tests.app import postgresql

ROOT = Path(__file__).parents[3]
CLAIMING = """
import sys
from app.store.database import open_database
from app.store.tags import claim
print(claim(open_database(sys.argv[1])).tag, flush=True)
sys.stdin.read()
"""


def claiming(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLAIMING, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def url_of(database) -> str:
    return database.url.render_as_string(hide_password=False).replace("+pysqlite", "").replace("+psycopg", "")


def test_claims_differ_and_end(database):
    first, second = claim(database), claim(database)
    assert (first.tag, second.tag) == (0, 1)
    first.close()
    third = claim(open_database(url_of(database)))
    assert third.tag == 0
    for each in (second, third):
        each.renew()
        each.close()


def test_a_claim_goes_with_its_process(database):
    with claiming(url_of(database)) as other, claiming(url_of(database)) as another:
        assert sorted(int(each.stdout.readline()) for each in (other, another)) == [0, 1]
        own = claim(database)
        assert own.tag == 2
        for each in (other, another):
            each.kill()
            each.wait()
        # PostgreSQL notices a moment later.
        for _ in range(100):
            again = claim(database)
            if again.tag < 2:
                break
            again.close()
        assert again.tag < 2
        own.close()
        again.close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_session_that_was_lost_claims_again(database):
    own = claim(database)
    with database.writing() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
        )
    own.renew()
    assert own.tag == 0
    other = claim(database)
    assert other.tag == 1
    other.close()
    own.close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_one_whose_tag_was_taken_meanwhile_gets_another(database):
    own = claim(database)
    with database.writing() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
        )
    other = claim(database)
    assert other.tag == 0
    own.renew()
    assert own.tag == 1
    other.close()
    own.close()


def test_a_server_that_is_gone_for_long_is_claimed_from_when_it_is_back():
    postgresql.skip_without_postgresql()
    with postgresql.server() as server, closing(open_database(server.url())) as database:
        own = claim(database)
        server.stop()
        for _ in range(3):
            with pytest.raises(DBAPIError):
                own.renew()
        server.start()
        own.renew()
        with closing(claim(database)) as other:
            assert (own.tag, other.tag) == (0, 1)
        # Nor does its absence keep a process from ending.
        server.stop()
        with pytest.raises(DBAPIError):
            own.renew()
        own.close()
