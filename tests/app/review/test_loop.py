"""The whole loop, nothing left out: a kind of defect that the model passes is reviewed, exported, taught and found."""

import asyncio
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.command import main
from model.registry import Registry

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
HEIGHT, WIDTH = 64, 128
SMALL = """
epochs = 12
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


class Line:
    """Steel with dark pits, which the plant knows, or with bright smears, which are new; a box round each."""

    def __init__(self, steel):
        self._steel = steel

    def frame(self, kind, seed):
        """uint8 (64, 128), and the box (x, y, width, height) of what is wrong with it, None for nothing."""
        rng = np.random.default_rng(seed)
        frame = self._steel(HEIGHT, WIDTH, seed=seed).astype(np.int16)
        if kind == "good":
            return frame.astype(np.uint8), None
        height, width = (14, 14) if kind == "pit" else (8, 26)
        y, x = int(rng.integers(4, HEIGHT - height - 4)), int(rng.integers(4, WIDTH - width - 4))
        frame[y : y + height, x : x + width] += -80 if kind == "pit" else 70
        return np.clip(frame, 0, 255).astype(np.uint8), (x, y, width, height)


@pytest.fixture(scope="module")
def line(steel_frame):
    return Line(steel_frame)


def trained(data, home):
    """The version that the command line trains on a folder."""
    command = [sys.executable, "-m", "training", "train", data, "--config", home / "small.toml"]
    command += ["--models", home / "models", "--json"]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["version"]


@pytest.fixture(scope="module")
def known(line, as_png, tmp_path_factory):
    """What the plant has labelled so far: good surface and pits, with masks."""
    from PIL import Image

    data = tmp_path_factory.mktemp("known")
    rows = [("file", "label", "defect_type", "group")]
    for folder in ("ok", "defect/pit", "masks"):
        (data / folder).mkdir(parents=True)
    for number in range(96):
        frame, box = line.frame("pit" if number % 2 else "good", 1000 + number)
        file = f"defect/pit/{number}.png" if box else f"ok/{number}.png"
        (data / file).write_bytes(as_png(frame))
        if box:
            x, y, width, height = box
            mask = np.zeros(frame.shape, np.uint8)
            mask[y : y + height, x : x + width] = 255
            Image.fromarray(mask).save(data / "masks" / f"{number}.png")
        rows.append((file, "defect" if box else "ok", "pit" if box else "none", f"known-{number // 2}"))
    with (data / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return data


def joined(one, two, target):
    """Two data folders as one: every file of both, and both tables."""
    shutil.copytree(one, target)
    shutil.copytree(two, target, dirs_exist_ok=True)
    with (target / "labels.csv").open("w") as file:
        file.write((one / "labels.csv").read_text() + (two / "labels.csv").read_text().partition("\n")[2])
    return target


async def test_what_persons_say_teaches_the_model(line, known, start, as_png, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "small.toml").write_text(SMALL)
    first = trained(known, home)
    Registry(home / "models").activate(first)

    async with start(home=home, models=home / "models", sample_ok=1.0, sample_called=1.0) as running:
        await running.until_ready()
        http = running.http

        async def probabilities(kind, seeds):
            found = []
            for seed in seeds:
                body = as_png(line.frame(kind, seed)[0])
                reply = await http.post("/v1/inspect", content=body, headers={"content-type": "image/png"})
                found.append(reply.json()["defect_probability"])
            return np.array(found)

        async def detection():
            """Share of pairs of a smear and good surface, both never reviewed, that are told apart (AUROC)."""
            smears, good = (
                await probabilities("smear", range(9000, 9030)),
                await probabilities("good", range(9500, 9530)),
            )
            return float((smears[:, None] > good).mean())

        before = await detection()
        truth, passed = {}, []
        # A few of the kind that it knows: of what it calls, too, some must have been looked at.
        for number, kind in enumerate(["good", "smear"] * 32 + ["pit"] * 8):
            frame, box = line.frame(kind, 3000 + number)
            reply = await http.post(
                "/v1/inspect", content=as_png(frame), headers={"content-type": "image/png"},
                params={"coil_id": f"coil-{number // 4}", "camera_id": "cam-1"},
            )  # fmt: skip
            said = reply.json()
            truth[said["inspection_id"]] = kind, box
            passed += [said["inspection_id"]] if said["verdict"] == "ok" else []
        # The queue shows the frames that are held back too: nobody has looked at them, and nobody will.
        while shown := [
            row for row in (await http.get("/v1/reviews/queue", params={"limit": 200})).json()["queue"]
            if row["inspection_id"] in truth
        ]:  # fmt: skip
            for row in shown:
                kind, box = truth[row["inspection_id"]]
                said = {"label": "ok", "reviewer": "ana"}
                if box:
                    where = dict(zip(("x", "y", "width", "height"), box, strict=True))
                    said |= {"label": "defect", "defect_class": kind, "box": where}
                reply = await http.post(f"/v1/inspections/{row['inspection_id']}/review", json=said)
                assert reply.status_code == 200, reply.text

        reviewed = tmp_path / "reviewed"
        assert main(["export", str(reviewed), "--home", str(home)]) == 0
        assert [len(list(reviewed.glob(each))) for each in ("defect/smear/*", "defect/pit/*", "masks/*")] == [32, 8, 40]
        # Beside the server, which shares this loop: what it reads after standing still counts as old.
        second = await asyncio.to_thread(trained, joined(known, reviewed, tmp_path / "both"), home)
        reply = await http.post(f"/v1/models/{second}/activate")
        assert reply.json()["active"] == second
        after = await detection()
        rates = {each["version"]: each for each in (await http.get("/v1/reviews/rates")).json()["versions"]}

    assert before < 0.75
    assert after > 0.9
    # Every passed frame is a sample here, and every sample of these was reviewed: the first version's escapes stand in
    # its rates, and in no other's.
    assert rates[first]["reviewed_ok"] == len(passed)
    assert rates[first]["defects_in_ok"] == sum(truth[each][1] is not None for each in passed) > 0
    assert rates[first]["escape"]["low"] > 0
    assert rates[second]["reviewed_ok"] == 0
