"""Broken, odd and hostile inputs from public collections: accepted or refused as labelled, and never a 5xx.

The labels are in `badinputs/index.csv` below STEELSIGHT_TEST_DATA; its README says what they mean.
"""

import csv
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.image import FORMATS

# The answers are fetched asynchronously also for the tests that only look at them.
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("anyio_backend")]

# What is sent elsewhere: whole HTTP requests to a port, and JSON to endpoints that take JSON.
NOT_BODIES = ("http-raw", "json-")
WITHIN_S = 1.0
SAME_SCENE_WITHIN = 0.02


@dataclass(frozen=True)
class Answer:
    """What came back for one row of the index."""

    row: dict[str, str]
    status: int
    reply: dict[str, Any]
    seconds: float

    def __str__(self) -> str:
        said = self.reply.get("code", self.reply.get("verdict"))
        return f"{self.row['file']} ({self.row['kind']}, {self.row['expect']}): {self.status} {said}"


@pytest.fixture(scope="module")
async def answers(shared_data: Path, served) -> list[Answer]:
    """Every body posted once."""
    folder = shared_data / "badinputs"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["kind"].startswith(NOT_BODIES)]
    found = []
    for row in rows:
        boundary = re.search(r"multipart/form-data; boundary=\S+", row["check"])
        headers = {"content-type": boundary[0] if boundary else "image/png"}
        started = time.perf_counter()
        answer = await served.http.post("/v1/inspect", content=(folder / row["file"]).read_bytes(), headers=headers)
        found.append(Answer(row, answer.status_code, answer.json(), time.perf_counter() - started))
    return found


def test_the_index_is_all_there(answers):
    assert len(answers) > 400
    assert {answer.row["format"] for answer in answers} >= set(FORMATS)


def test_no_input_is_our_fault(answers):
    assert not [str(answer) for answer in answers if answer.status >= 500]


@pytest.mark.parametrize(
    ("expect", "allowed"), [("decode", range(200, 201)), ("4xx", range(400, 500)), ("either", range(200, 500))]
)
def test_the_labels_are_obeyed(answers, expect, allowed):
    labelled = [answer for answer in answers if answer.row["expect"] == expect]
    assert labelled
    assert not [str(answer) for answer in labelled if answer.status not in allowed]


def test_a_malformed_form_is_a_400_or_422(answers):
    forms = [answer for answer in answers if answer.row["kind"] == "multipart-fuzzed"]
    assert forms
    assert {answer.status for answer in forms} <= {400, 422}


def test_every_refusal_says_why(answers):
    refused = [answer for answer in answers if answer.status != 200]
    assert not [str(answer) for answer in refused if not answer.reply["code"] or len(answer.reply["detail"]) < 20]


def test_one_scene_has_one_verdict(answers):
    scenes: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.status == 200 and answer.row["group"]:
            scenes.setdefault(answer.row["group"], []).append(answer)
    assert len(scenes) > 10
    torn = []
    for name, members in scenes.items():
        probabilities = [member.reply["defect_probability"] for member in members]
        allowed = SAME_SCENE_WITHIN if name.startswith("fam-") else 0
        if (
            max(probabilities) - min(probabilities) > allowed
            or len({member.reply["verdict"] for member in members}) > 1
        ):
            torn.append((name, [(str(member), member.reply["defect_probability"]) for member in members]))
    assert not torn


def test_every_answer_comes_soon(answers):
    assert not [f"{answer}: {answer.seconds:.1f} s" for answer in answers if answer.seconds > WITHIN_S]


async def test_as_a_part_and_in_a_batch_each_is_answered_as_alone_and_leaves_no_file(
    answers, served, shared_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    otherwise = []
    for answer in answers:
        if answer.row["kind"] == "multipart-fuzzed":
            continue
        body = (shared_data / "badinputs" / answer.row["file"]).read_bytes()
        part = await served.http.post("/v1/inspect", files={"image": body})
        batch = await served.http.post("/v1/inspect/batch", files={"image": body})
        of_batch = batch.json()["results"][0] if batch.status_code == 200 else {"error": batch.json()}
        for form, reply in (("part", part.json()), ("batch", of_batch.get("error", of_batch))):
            if _told(reply) != _told(answer.reply):
                otherwise.append(f"{answer}; as {form}: {_told(reply)}")
    assert not otherwise
    assert not list(tmp_path.iterdir())


def _told(reply: dict[str, Any]) -> tuple[Any, ...]:
    return reply.get("code"), reply.get("verdict"), reply.get("defect_probability")


async def test_as_pixels_a_file_is_what_its_size_says(answers, served, shared_data):
    """Bytes without a format: as many as the frame has pixels are a frame, whatever they were."""
    statuses = set()
    for answer in answers:
        body = (shared_data / "badinputs" / answer.row["file"]).read_bytes()
        for width in (64, max(8, len(body) // 64)):
            params = {"width": width, "height": 64, "pixel_format": "Mono8"}
            headers = {"content-type": "application/octet-stream"}
            told = await served.http.post("/v1/inspect", params=params, content=body, headers=headers)
            assert told.status_code == (200 if len(body) == width * 64 else told.status_code)
            assert told.status_code == 200 or 400 <= told.status_code < 500, answer
            statuses.add(told.status_code)
    assert statuses >= {422}
