"""Several worker processes follow one another: whichever is asked to change the model, all do, and no frame is lost."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.registry import Registry

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
# Each request is a new connection, which the system gives to either worker: if one of two still differed, so many
# answers in a row would hide it in one of a million runs.
IN_A_ROW = 20


@pytest.fixture
def url(own_models: Path, tmp_path: Path) -> Iterator[str]:
    """A server of two workers."""
    environment = {"PATH": os.environ["PATH"], "STEELSIGHT_HOME": str(tmp_path), "STEELSIGHT_MODELS": str(own_models)}
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", "2"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.PIPE, text=True) as server,
    ):
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline())[0]
        finally:
            server.terminate()
            server.wait(WITHIN_S)


def until_all(true: Callable[[], bool]) -> None:
    """Wait until it holds so often in a row that it holds of every worker."""
    deadline, in_a_row = time.monotonic() + WITHIN_S, 0
    while in_a_row < IN_A_ROW:
        assert time.monotonic() < deadline
        in_a_row = in_a_row + 1 if true() else 0


def test_whoever_saw_one_worker_ready_meets_no_other_that_loads(url):
    # The first connection is answered when the first worker takes connections, which it must not do before it is ready.
    for _ in range(IN_A_ROW):
        assert httpx.get(url + "/readyz", timeout=WITHIN_S).status_code == 200


def test_all_workers_change_and_shadow(url, own_models, png):
    first, second = Registry(own_models).versions()

    def ask(method: str, path: str, **fields: Any) -> httpx.Response:
        return httpx.request(method, url + path, timeout=WITHIN_S, **fields)

    until_all(lambda: ask("GET", "/readyz").status_code == 200)

    def judged_by(version: str) -> bool:
        answer = ask("POST", "/v1/inspect", content=png, headers={"content-type": "image/png"})
        assert answer.status_code == 200
        assert answer.json()["model"]["version"] in (first, second)
        return answer.json()["model"]["version"] == version

    assert ask("POST", f"/v1/models/{second}/activate").json() == {"active": second, "previous": first}
    until_all(lambda: judged_by(second))
    assert ask("POST", f"/v1/models/{first}/shadow", json={"share": 1}).status_code == 200
    until_all(lambda: (ask("GET", "/v1/models").json()["shadow"] or {}).get("version") == first)
    assert ask("POST", "/v1/models/rollback").json() == {"active": first, "previous": second, "skipped": []}
    until_all(lambda: judged_by(first))
    assert ask("DELETE", f"/v1/models/{first}/shadow").status_code == 204
    until_all(lambda: ask("GET", "/v1/models").json()["shadow"] is None)
