"""Every administrative act of the API and of the command line stands in the audit log, with who did it."""

from contextlib import closing
from typing import NamedTuple

import pytest

from app.access.keys import create_key
from app.access.principal import Scope
from app.command import main
from app.settings import load
from app.store import audit
from app.store.record import database_of
from model.registry import POINTER
from tests.conftest import TINY_VERSIONS


class Run(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


def acts(home):
    with closing(database_of(load({}, {"home": str(home)}))) as database, database.reading() as connection:
        assert audit.verify(connection) is None
        lines = [(line.actor, line.action, line.subject, line.detail) for line in audit.lines(connection)]
    # What a server finds by itself after some seconds has a test of its own.
    return [line for line in lines if POINTER not in line[3].values()]


@pytest.fixture
def keys(tmp_path, capsys):
    """`keys("list")`: python -m app keys list, on a data root of its own."""

    def run(*arguments):
        capsys.readouterr()
        try:
            exit_code = main(["keys", *arguments, "--home", str(tmp_path)])
        except SystemExit as end:
            exit_code = end.code
        return Run(exit_code, *capsys.readouterr())

    return run


@pytest.mark.anyio
async def test_acts_of_the_api(tmp_path, own_models, start, png):
    key, token = create_key(tmp_path, "admin", list(Scope))
    headers = {"x-api-key": token}
    first, second = TINY_VERSIONS
    async with start(home=tmp_path, models=own_models, sample_ok=1.0) as running:
        await running.until_ready()
        http = running.http
        http.headers.update(headers)

        async def done(method, path, **content):
            answer = await http.request(method, path, **content)
            assert answer.is_success, answer.text
            return answer

        await done("POST", "/v1/coils", json={"coil_id": "C/1", "length_mm": 5.0})
        await done("POST", "/v1/coils", json={"coil_id": "C/1"})
        image = {"content": png, "headers": {"content-type": "image/png"}}
        inspected = await done("POST", "/v1/inspect", params={"coil_id": "C/1"}, **image)
        number = inspected.json()["inspection_id"]
        review = f"/v1/inspections/{number}/review"
        await done("POST", review, json={"label": "ok", "reviewer": "someone"})
        await done("DELETE", review, params={"reviewer": "someone"})
        assert (await http.delete(review, params={"reviewer": "someone"})).status_code == 404
        await done("POST", "/v1/coils/C%2F1/close")
        await done("POST", "/v1/coils/C%2F1/close")
        await done("POST", f"/v1/models/{second}/shadow", json={"share": 0.5})
        await done("DELETE", f"/v1/models/{second}/shadow")
        await done("POST", f"/v1/models/{second}/activate")
        await done("POST", "/v1/models/rollback")
        assert (await http.post("/v1/models/none/activate")).status_code == 404
    actor = f"key:admin:{key.id}"
    assert acts(tmp_path) == [
        (actor, "coil.open", "C/1", {"length_mm": 5.0, "width_mm": None}),
        (actor, "review.undo", number, {"reviewer": "someone"}),
        (actor, "coil.close", "C/1", {}),
        (actor, "shadow.start", second, {"share": 0.5}),
        (actor, "shadow.stop", second, {}),
        (actor, "model.activate", second, {"before": first}),
        (actor, "model.rollback", first, {"before": second}),
    ]


@pytest.mark.anyio
async def test_acts_of_the_command_line(tmp_path, tiny_models, start, keys):
    # Before there is a record there is nothing to write to: the file of keys itself says when each was made.
    assert keys("create", "early", "--scope", "read").exit_code == 0
    assert not (tmp_path / "record.db").exists()
    async with start(home=tmp_path, models=tiny_models):
        made = keys("create", "line-1", "--scope", "inspect", "read", "--camera", "top-1", "--rate", "60")
        assert made.exit_code == 0, made.stderr
        key_id = made.stdout[3:19]
        assert keys("revoke", key_id).exit_code == 0
        assert keys("revoke", "0" * 16).exit_code == 1
    (who, *created), revoked = acts(tmp_path)
    assert who.startswith("os:")
    created[2].pop("created_at")
    assert created == ["key.create", key_id, {"name": "line-1", "scopes": ["inspect", "read"], "cameras": ["top-1"],
                                              "rate_per_minute": 60}]  # fmt: skip
    assert revoked == (who, "key.revoke", key_id, {"name": "line-1"})


def test_the_first_key_is_made_before_a_database_has_tables(keys, empty_postgresql, monkeypatch):
    """Beyond loopback no server makes them before there is a key."""
    monkeypatch.setenv("DATABASE_URL", empty_postgresql)
    made = keys("create", "administrator", "--scope", "admin")
    assert (made.exit_code, len(made.stdout.split())) == (0, 1), made.stderr
    assert keys("list").stdout.split()[1:3] == ["valid", "administrator"]
    assert keys("revoke", made.stdout[3:19]).exit_code == 0


def test_a_key_that_cannot_be_audited_is_not_given_out_and_one_that_must_end_ends(keys, monkeypatch):
    token = keys("create", "a", "--scope", "read").stdout
    monkeypatch.setenv("DATABASE_URL", "postgresql://steelsight:s3cret-word@127.0.0.1:1/none")
    refused = keys("create", "b", "--scope", "read")
    assert refused[:2] == (1, "")
    assert refused.stderr.startswith("error: the audit log cannot be written: ")
    revoked = keys("revoke", token[3:19])
    assert revoked.exit_code == 1
    assert "is revoked" in revoked.stderr
    listed = keys("list").stdout.splitlines()
    assert [line.split()[1:3] for line in listed] == [["revoked", "a"]]
    for run in (refused, revoked):
        assert "s3cret-word" not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        assert len(run.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["create", "a"], 2, "--scope"),
        (["create", "a", "--scope", "write"], 2, "write"),
        (["create", "a", "--scope", "read", "--expires", "0"], 2, "days above 0"),
        (["create", "a", "--scope", "read", "--expires", "nan"], 2, "days above 0"),
        (["create", "a", "--scope", "read", "--expires", "1e300"], 2, "days above 0"),
        (["create", "a", "--scope", "read", "--rate", "-1"], 2, "--rate"),
        (["create", "a\nb", "--scope", "read"], 1, "error: name: received 'a\\nb'"),
        (["create", "a", "--scope", "read", "--camera", "top-1"], 1, "needs the scope inspect"),
        (["revoke", "\udcff"], 1, "there is no key with the id"),
        (["list", "--what"], 2, "unrecognized"),
    ],
)
def test_wrong_usage_is_one_clear_line(keys, arguments, exit_code, says):
    run = keys(*arguments)
    assert run.exit_code == exit_code
    assert says in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
