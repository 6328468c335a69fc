"""The main job, with real processes only: labelled folder -> command line -> server -> HTTP verdict."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
SMALL = """
epochs = 5
learning_rate = 0.003
[network]
input_size = 64
dense_units = 16
[[network.blocks]]
filters = 8
kernel = 5
stride = 2
normalize = true
[[network.blocks]]
filters = 8
normalize = true
"""


def python(*arguments: object) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A data root with generated steel and one trained, active version."""
    home = tmp_path_factory.mktemp("home")
    (home / "experiment.toml").write_text(SMALL)
    python("training", "synthesize", home / "steel", "--tiles", 150, "--seed", 8)
    python("training", "check", home / "steel")
    train = ("training", "train", home / "steel", "--config", home / "experiment.toml")
    summary = json.loads(python(*train, "--models", home / "models", "--activate", "--json").splitlines()[-1])
    assert summary["version"] in python("model", "list", "--models", home / "models")
    return home


@pytest.fixture(scope="module")
def server(home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "STEELSIGHT_HOME": str(home)},
            stdout=log,
            stderr=log,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        deadline = time.monotonic() + 30
        while True:
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, (home / "server.log").read_text()
            time.sleep(0.05)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_http_gives_the_verdict_of_the_command_line(home, server):
    steel = home / "steel"
    images = [*sorted(steel.glob("ok/*.png"))[:25], *sorted(steel.glob("defect/*/*_0.png"))[:25]]
    lines = python("model", "inspect", "active", *images, "--models", home / "models").splitlines()
    verdicts = set()
    for image, line in zip(images, map(json.loads, lines), strict=True):
        reply = server.post("/v1/inspect", content=image.read_bytes(), headers={"content-type": "image/png"})
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert answer["verdict"] == line["verdict"]
        # Batches differ in how sums are rounded, nothing else.
        assert answer["defect_probability"] == pytest.approx(line["defect_probability"], abs=1e-6)
        assert answer["model"] == line["model"]
        verdicts.add(answer["verdict"])
    assert len(verdicts) > 1, "a model that says the same of everything would pass this test"


def test_all_three_bodies_give_one_answer(home, server):
    from model.image import decode

    image = next((home / "steel/ok").glob("*.png")).read_bytes()
    frame = decode(image)
    height, width = frame.shape
    raw = {"width": width, "height": height, "pixel_format": "Mono8"}
    octets = {"content-type": "application/octet-stream"}
    replies = [
        server.post("/v1/inspect", content=image, headers={"content-type": "image/png"}),
        server.post("/v1/inspect", files={"image": ("frame.png", image, "image/png")}),
        server.post("/v1/inspect", content=frame.tobytes(), params=raw, headers=octets),
    ]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert len({reply.json()["defect_probability"] for reply in replies}) == 1


def test_readme_curl_prints_a_verdict(home, server):
    """The README's own command, word for word but for the address and the folder it names."""
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^curl (?:.*\\\n)*.*$", readme, re.MULTILINE)
    address = f"{server.base_url.host}:{server.base_url.port}"
    command = command.replace("127.0.0.1:8000", address).replace("var/starter-data", str(home / "steel"))
    done = subprocess.run(["bash", "-c", command], check=False, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in {"ok", "review", "defect"}
