"""Requests made up from the service's own description, sound and unsound ones, and all checks on what comes back.

    python -m benchmarks.fuzz [--cases N] [--models DIR] [--seed N]

schemathesis against a real server with a data root of its own, twice: with keys, where each request carries one that
may do everything, and without. Ends with exit code 1 where a check failed, and with what made it fail.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.serving import ROOT
from model.registry import models_folder

CONFIG = Path(__file__).with_suffix(".toml")
SCOPES = ("inspect", "read", "review", "admin")
TOKEN = re.compile(r"sk_\w+")
CASES = re.compile(r"(\d+) generated")
# One that is late on a busy machine is answered still.
REQUEST_S = 60
READY_S = 60
ROUND_S = 120


def a_key(home: Path) -> str:
    """The token of a new key of this data root that may do everything."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "keys", "create", "fuzz", "--scope", *SCOPES],
        cwd=ROOT,
        env={**os.environ, "STEELSIGHT_HOME": str(home)},
        check=True,
        capture_output=True,
        text=True,
    )
    return TOKEN.findall(done.stdout + done.stderr)[-1]


@contextmanager
def listening(home: Path, models: Path, access: str) -> Iterator[str]:
    """The address of a server that is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--models", str(models.resolve())]
    environment = {**os.environ, "STEELSIGHT_HOME": str(home), "STEELSIGHT_ACCESS": access}
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                yield f"http://127.0.0.1:{port}"
                return
            time.sleep(0.1)
        raise SystemExit((home / "log").read_text())
    finally:
        server.terminate()
        server.wait()


def fuzz(
    url: str, token: str | None, seed: int, seconds: int | None = None, most: int | None = None
) -> tuple[int, str]:
    """How many cases were made up, and what failed; "" if nothing did.

    seconds: in which more are made up. most: for each operation, beside those that cover its parameters.
    """
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        description = json.load(answer)
    if token is None:
        # It says which routes need a key; this server listens to this machine alone, and asks for none.
        del description["components"]["securitySchemes"]
        for each in (operation for path in description["paths"].values() for operation in path.values()):
            each.pop("security", None)
    command: list[object] = [Path(sys.executable).with_name("st"), "--config-file", CONFIG, "run"]
    command += ["description.json", "--url", url]
    command += ["--checks", "all", "--seed", seed, "--continue-on-failure", "--request-timeout", REQUEST_S]
    command += ["--suppress-health-check", "all", "--warnings", "off"]
    command += ["--phases", "coverage,fuzzing"]
    if seconds is not None:
        command += ["--max-time", seconds]
    if most is not None:
        command += ["--max-examples", most]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "description.json").write_text(json.dumps(description))
        done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    cases = sum(map(int, CASES.findall(done.stdout)))
    return cases, "" if done.returncode == 0 else done.stdout + done.stderr


def main() -> None:
    """Both servers in turn, until there are as many cases as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--models", type=Path, default=models_folder())
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    kinds: Mapping[str, str] = {"with a key": "keys", "without": "open"}
    failed = False
    for name, access in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            token = a_key(Path(folder)) if access == "keys" else None
            with listening(Path(folder), asked.models, access) as url:
                total, seed = 0, asked.seed
                while total < asked.cases // len(kinds) and not failed:
                    cases, wrong = fuzz(url, token, seed, ROUND_S)
                    total, seed, failed = total + cases, seed + 1, bool(wrong) or not cases
                    print(wrong, end="")
        print(f"{name}: {total} cases, {'failures' if failed else 'no failure'}", flush=True)
        if failed:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
