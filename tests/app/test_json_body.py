"""Hostile JSON, sent to every route that reads JSON: accepted or refused as it should be, and never our fault."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.json_body import MAX_DEPTH
from tests.app.conftest import Running

pytestmark = [pytest.mark.anyio]

TILE = 64
ROUTES = ("coils", "review", "shadow", "infer", "session", "vouched")


@pytest.fixture(scope="module")
async def paths(served: Running, png: bytes) -> dict[str, str]:
    """Every route that reads JSON, by a name: of things that are there."""
    answer = await served.http.post(
        "/v1/inspect", params={"camera_id": "c"}, content=png, headers={"content-type": "image/png"}
    )
    inspection = answer.json()["inspection_id"]
    version = answer.json()["model"]["version"]
    return {
        "coils": "/v1/coils",
        "review": f"/v1/inspections/{inspection}/review",
        "shadow": f"/v1/models/{version}/shadow",
        "infer": "/v2/models/steelsight/infer",
        "session": "/v1/sessions",
        "vouched": "/v1/sessions/oidc",
    }


def sound(name: str, **more: Any) -> dict[str, Any]:
    """What the route would accept, but for the shadow: the version that serves cannot shadow itself."""
    return {
        "coils": {"coil_id": "C1"},
        "review": {"label": "ok", "reviewer": "Ann"},
        "shadow": {"share": 0.5},
        "session": {"name": "Ann", "password": "a"},
        "vouched": {"id_token": "a", "nonce": "n" * 16},
        "infer": {
            "inputs": [{"name": "image", "shape": [1, TILE, TILE, 1], "datatype": "UINT8", "data": [0] * TILE * TILE}]
        },
    }[name] | more


async def test_every_route_that_reads_json_is_among_them(served):
    taking = {
        path
        for path, methods in served.app.openapi()["paths"].items()
        for operation in methods.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert taking == {
        "/v1/coils",
        "/v1/inspections/{inspection_id}/review",
        "/v1/models/{version}/shadow",
        "/v1/sessions",
        "/v1/sessions/oidc",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
    }


async def post(http: httpx.AsyncClient, path: str, body: bytes) -> httpx.Response:
    answer = await http.post(path, content=body, headers={"content-type": "application/json"})
    # Also that it is UTF-8, and JSON.
    assert answer.json()
    return answer


@pytest.mark.parametrize("name", ROUTES)
async def test_a_body_that_is_encoded_is_refused_as_that(http, paths, name):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await http.post(paths[name], content=gzip.compress(json.dumps(sound(name)).encode()), headers=headers)
    assert answer.status_code == 415
    assert "received the Content-Encoding 'gzip'; send the body as it is" in answer.text


@pytest.mark.parametrize("name", ROUTES)
async def test_public_inputs(shared_data: Path, http, paths, name):
    folder = shared_data / "badinputs"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"].startswith("json-")]
    assert len(rows) > 120
    answers = {row["file"]: await post(http, paths[name], (folder / row["file"]).read_bytes()) for row in rows}
    assert not [f"{file}: {answer.text}" for file, answer in answers.items() if not 400 <= answer.status_code < 500]
    # What is no JSON is told apart from JSON that says something else.
    for row in rows:
        text = answers[row["file"]].text
        if row["kind"] == "json-invalid":
            assert "request_invalid" in text or "body_too_large" in text or "body_empty" in text, row["file"]
        elif row["kind"] == "json-valid" and "request_invalid" in text:
            assert "more than once" in text or "surrogate" in text or "not valid JSON" in text, row["file"]


HOSTILE: dict[str, Callable[[str], bytes]] = {
    "nothing but brackets": lambda sound: b"[" * 900,
    "brackets in the stack's way": lambda sound: b'{"a":' * 150 + b"1" + b"}" * 150,
    "just too deep": lambda sound: with_key(sound, f'"zz":{"[" * MAX_DEPTH}1{"]" * MAX_DEPTH}'),
    "NaN": lambda sound: with_key(sound, '"zz":NaN'),
    "Infinity": lambda sound: with_key(sound, '"zz":-Infinity'),
    "a huge exponent": lambda sound: with_key(sound, '"zz":1e999999'),
    "a lone surrogate": lambda sound: with_key(sound, '"zz":"\\ud800"'),
    "a lone surrogate in a key": lambda sound: with_key(sound, '"\\udfff":1'),
    "a byte order mark": lambda sound: b"\xef\xbb\xbf" + sound.encode(),
    "UTF-16": lambda sound: sound.encode("utf-16"),
    "UTF-32": lambda sound: sound.encode("utf-32-le"),
    "Latin-1": lambda sound: with_key(sound, '"zz":"é"').decode().encode("latin-1"),
    "cut short": lambda sound: sound.encode()[:-1],
    "something behind it": lambda sound: sound.encode() + b"{}",
    "a NUL behind it": lambda sound: sound.encode() + b"\0",
    "a comment": lambda sound: b"/**/" + sound.encode(),
}


def with_key(sound: str, pair: str) -> bytes:
    return (sound[:-1] + "," + pair + "}").encode()


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_is_no_json_of_ours_is_a_400(http, paths, name, kind):
    answer = await post(http, paths[name], HOSTILE[kind](json.dumps(sound(name))))
    assert (answer.status_code, "request_invalid" in answer.text) == (400, True), answer.text


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    "pair",
    [
        '"__proto__":{"admin":true}',
        '"constructor":1',
        '"zz":' + "9" * 900,
        '"\\u0000":1',
        '"\\u202e":1',
        '"' + "a" * 900 + '":1',
        '"zz":' + "[" * 8 + "1" + "]" * 8,
        '"zz":-1e-400',
    ],
)
async def test_what_nobody_asked_for_is_a_complaint(http, paths, name, pair):
    answer = await post(http, paths[name], with_key(json.dumps(sound(name)), pair))
    assert answer.status_code in (400, 422), answer.text
    assert answer.text.isascii()
    assert len(answer.text) < 1000


@pytest.mark.parametrize("name", ["coils", "review", "shadow", "session", "vouched"])
async def test_a_key_is_there_once(http, paths, name):
    text = json.dumps(sound(name))
    answer = await post(http, paths[name], (text[:-1] + "," + text[1:]).encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert "more than once" in answer.json()["detail"]


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("value", ["[]", "1", '"a"', "null", "true", "{}", "[{}]"])
async def test_json_of_another_kind_is_a_422(http, paths, name, value):
    answer = await post(http, paths[name], value.encode())
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("value", ["\u0000", "\u202e", "a\nb", "\u2028", "a" * 129, "", "\u200b", "\ufeff"])
async def test_names_are_short_and_printable(http, paths, value):
    coil = await post(http, paths["coils"], json.dumps({"coil_id": value}).encode())
    review = await post(http, paths["review"], json.dumps({"label": "ok", "reviewer": value}).encode())
    assert (coil.status_code, review.status_code) == (422, 422)
    assert coil.text.isascii()
    assert review.text.isascii()


@pytest.mark.parametrize(
    "value", ["=HYPERLINK(1)", "../../etc/passwd", "<script>alert(1)</script>", "a,b\"c';--", "%2e%2e"]
)
async def test_a_name_that_some_sink_could_take_for_more_is_a_name_everywhere(http, served, png, value):
    """Of a coil and a camera: in JSON, CSV, pages, drawings, headers and file names."""
    await post(http, "/v1/coils", json.dumps({"coil_id": value, "length_mm": 100}).encode())
    answer = await http.post(
        "/v1/inspect",
        params={"coil_id": value, "camera_id": value, "position_mm": 1, "mm_per_pixel": 1},
        content=png,
        headers={"content-type": "image/png"},
    )
    assert answer.status_code == 200
    quoted = quote(value, safe="")
    for path in ("", "/events", "/map", "/map?format=svg", "/map?format=png", "/report"):
        told = await http.get(f"/v1/coils/{quoted}{path}")
        assert told.status_code == 200, path
        if path == "/report" or "svg" in path:
            assert "<script>alert" not in told.text
    exported = (await http.get("/v1/inspections/export", params={"coil_id": value, "format": "csv"})).text
    assert not [line for line in exported.splitlines() if ",=" in line]
    cameras = (await http.get("/v1/cameras")).json()["cameras"]
    picture = next(each["picture"] for each in cameras if each["camera_id"] == value)
    assert picture is None or (await http.get(picture)).status_code == 200
    kept = [path.name for path in served.service.settings.home.rglob("*")]
    assert not [name for name in kept if value.strip("./") in name]
