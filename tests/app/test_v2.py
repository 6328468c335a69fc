"""The Open Inference Protocol: what its clients and its enemies send."""

import csv
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.tensors import MAX_JSON_BYTES
from model.registry import Registry

pytestmark = pytest.mark.anyio
TILE = 64
INFER = "/v2/models/steelsight/infer"
HEAD_LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def tiles(steel_tiles) -> np.ndarray:
    """Six tiles of spread probabilities, and both constant extremes."""
    return steel_tiles(8, TILE)


@pytest.fixture(scope="module")
def expected(served, tiles) -> np.ndarray:
    """What the inspection path says of them."""
    return served.service.slot.require().probabilities(tiles)


def tensor(tiles: np.ndarray, **fields) -> dict:
    datatype = "UINT8" if tiles.dtype == np.uint8 else "FP32"
    return {"name": "image", "shape": [len(tiles), TILE, TILE, 1], "datatype": datatype} | fields


def binary(tiles: np.ndarray, **fields) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a binary request."""
    data = tiles.tobytes()
    head = orjson.dumps({"inputs": [tensor(tiles, parameters={"binary_data_size": len(data)})]} | fields)
    return head + data, {HEAD_LENGTH: str(len(head))}


def probabilities(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert (output["name"], output["datatype"]) == ("defect_probability", "FP32")
    assert output["shape"] == [len(output["data"]), 1]
    return np.array(output["data"])


async def refusal(http, content: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and code of a request that must be refused, in the protocol's shape."""
    answer = await http.post(INFER, content=content, headers=headers or {})
    assert 400 <= answer.status_code < 500, answer.text
    reply = answer.json()
    assert list(reply) == ["error"]
    code, _, message = reply["error"].partition(": ")
    assert len(message) > 15
    assert len(answer.content) < 2000
    return answer.status_code, code


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("form", ["nested", "flat", "binary"])
async def test_tiles_score_as_they_are_inspected(http, tiles, expected, dtype, form):
    typed = tiles.astype(dtype)
    if form == "binary":
        content, headers = binary(typed)
    else:
        shaped = typed[..., np.newaxis] if form == "nested" else typed.ravel()
        content, headers = orjson.dumps({"inputs": [tensor(typed, data=shaped.tolist())]}), {}
    answer = await http.post(INFER, content=content, headers=headers)
    assert np.allclose(probabilities(answer), expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 70])
async def test_any_number_of_tiles_is_scored(http, tiles, expected, count):
    many = tiles[np.arange(count) % len(tiles)]
    content, headers = binary(many)
    answer = await http.post(INFER, content=content, headers=headers)
    assert np.allclose(probabilities(answer), expected[np.arange(count) % len(tiles)], atol=1e-6)


async def test_grey_between_the_integers_is_taken_as_it_is(http, served, tiles):
    between = tiles[:2].astype(np.float32) * 0.5
    content, headers = binary(between)
    answer = await http.post(INFER, content=content, headers=headers)
    assert np.allclose(probabilities(answer), served.service.slot.require().probabilities(between), atol=1e-6)


async def test_a_binary_output_follows_its_head(http, tiles, expected):
    asks = (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "defect_probability", "parameters": {"binary_data": True}}]},
    )
    for asked in asks:
        content, headers = binary(tiles, **asked, id="frame 7")
        answer = await http.post(INFER, content=content, headers=headers)
        length = int(answer.headers[HEAD_LENGTH])
        head = orjson.loads(answer.content[:length])
        assert head["id"] == "frame 7"
        assert head["outputs"][0]["parameters"] == {"binary_data_size": 4 * len(tiles)}
        assert np.allclose(np.frombuffer(answer.content[length:], "<f4"), expected, atol=1e-6)


async def test_what_is_asked_of_the_output_wins(http, tiles):
    content, headers = binary(
        tiles,
        parameters={"binary_data_output": True, "priority": 1},
        outputs=[{"name": "defect_probability", "parameters": {"binary_data": False}}],
    )
    answer = await http.post(INFER, content=content, headers=headers)
    assert HEAD_LENGTH not in answer.headers
    assert "id" not in answer.json()
    assert len(probabilities(answer)) == len(tiles)


def asked(**fields) -> bytes:
    flat = [0] * TILE * TILE
    return orjson.dumps({"inputs": [tensor(np.zeros((1, TILE, TILE), np.uint8), **({"data": flat} | fields))]})


WRONG = {
    "no inputs": (orjson.dumps({"inputs": []}), 422),
    "two inputs": (orjson.dumps({"inputs": [tensor(np.zeros((1, 1)))] * 2}), 422),
    "another input": (asked(name="picture"), 422),
    "another datatype": (asked(datatype="INT64"), 422),
    "another output": (asked()[:-1] + b',"outputs":[{"name":"classes"}]}', 422),
    "two outputs": (asked()[:-1] + b',"outputs":[{"name":"defect_probability"},{"name":"defect_probability"}]}', 422),
    "an unknown field": (asked()[:-1] + b',"output":[]}', 422),
    "an id that is a number": (asked()[:-1] + b',"id":1}', 422),
    "an endless id": (asked()[:-1] + b',"id":"' + b"x" * 2000 + b'"}', 422),
    "three dimensions": (asked(shape=[1, TILE, TILE]), 422),
    "no tile": (asked(shape=[0, TILE, TILE, 1], data=[]), 422),
    "a negative count": (asked(shape=[-1, TILE, TILE, 1]), 422),
    "a count that is no integer": (asked(shape=[1.5, TILE, TILE, 1]), 422),
    "a count that is true": (asked(shape=[True, TILE, TILE, 1]), 422),
    "a tile of another size": (asked(shape=[1, 128, 128, 1]), 422),
    "more than memory holds": (asked(shape=[2**62, TILE, TILE, 1]), 413),
    "more dimensions than there are": (asked(shape=[1] * 10_000), 422),
    "too few values": (asked(data=[0] * 5), 422),
    "one value too many": (asked(data=[0] * (TILE * TILE + 1)), 422),
    "no data": (asked(data=None), 422),
    "data that is an object": (asked(data={"0": 1}), 422),
    "data that is text": (asked(data="0" * TILE * TILE), 422),
    "words": (asked(data=["a"] * TILE * TILE), 422),
    "truths": (asked(data=[True] * TILE * TILE), 422),
    "nothings": (asked(data=[None] * TILE * TILE), 422),
    "fractions for integers": (asked(data=[0.5] * TILE * TILE), 422),
    "brighter than white": (asked(data=[256] * TILE * TILE), 422),
    "darker than black": (asked(data=[-1] * TILE * TILE), 422),
    "beyond any integer": (asked(data=[2**63] * TILE * TILE), 422),
    "floats brighter than white": (asked(datatype="FP32", data=[255.5] * TILE * TILE), 422),
    "floats beyond a float": (asked(datatype="FP32", data=[1e300] * TILE * TILE), 422),
    "ragged rows": (asked(data=[[[[0]] * TILE] * (TILE - 1) + [[[0]] * (TILE - 1)]]), 422),
    "half nested": (asked(data=[[0] * TILE * TILE]), 422),
    "nested and flat": (asked(data=[[[[0]] * TILE] * TILE, 0]), 422),
    "nested too deep": (asked(data=[[[[[0]]] * TILE] * TILE]), 422),
    "not a number": (b'{"inputs":[{"name":"image","shape":[1,64,64,1],"datatype":"FP32","data":[NaN]}]}', 400),
    "a bottomless list": (b"[" * 100_000, 400),
    "a lone surrogate": (b'{"id":"\\ud800"}', 400),
    "no JSON": (b"\x00\xff", 400),
    "a list": (b"[]", 422),
    "a number": (b"1", 422),
    "nothing": (b"", 400),
    "bytes that nothing announces": (asked(data=None, parameters={"binary_data_size": 10}), 422),
    "too long for JSON": (b" " * (MAX_JSON_BYTES + 1), 413),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_refused_with_its_reason(http, wrong):
    content, status = WRONG[wrong]
    assert (await refusal(http, content))[0] == status


@pytest.mark.parametrize("size", [0, -1, 1, TILE * TILE - 1, TILE * TILE + 1, 2**70, "4096", True, [4096], 4096.0])
async def test_a_wrong_binary_size_is_refused(http, tiles, size):
    head = orjson.dumps({"inputs": [tensor(tiles[:1], parameters={"binary_data_size": 0})]})
    head = head.replace(
        b'"binary_data_size":0', b'"binary_data_size":' + (b"1" * 30 if size == 2**70 else orjson.dumps(size))
    )
    found = await refusal(http, head + tiles[:1].tobytes(), {HEAD_LENGTH: str(len(head))})
    assert found == (422, "raw_frame_invalid")


@pytest.mark.parametrize("cut", [1, TILE * TILE, -1])
async def test_other_bytes_than_announced_are_refused(http, tiles, cut):
    content, headers = binary(tiles[:1])
    content = content[:-cut] if cut > 0 else content + b"\0"
    assert await refusal(http, content, headers) == (422, "raw_frame_invalid")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 255.01, 3e38])
async def test_a_float_that_is_no_grey_value_is_refused(http, tiles, value):
    typed = tiles[:2].astype(np.float32)
    typed[1, 5, 5] = value
    assert await refusal(http, *binary(typed)) == (422, "raw_frame_invalid")


@pytest.mark.parametrize("length", ["-1", "", "x", "1e3", "99999999", "9" * 30, "0x10"])
async def test_a_head_of_a_wrong_length_is_refused(http, tiles, length):
    content, _ = binary(tiles[:1])
    assert (await refusal(http, content, {HEAD_LENGTH: length})) == (400, "request_invalid")


async def test_data_and_bytes_at_once_are_refused(http, tiles):
    one = tensor(tiles[:1], data=[0] * TILE * TILE, parameters={"binary_data_size": TILE * TILE})
    head = orjson.dumps({"inputs": [one]})
    found = await refusal(http, head + tiles[:1].tobytes(), {HEAD_LENGTH: str(len(head))})
    assert found == (422, "raw_frame_invalid")


async def test_compressed_bodies_are_refused(http, tiles):
    content, headers = binary(tiles[:1])
    assert (await refusal(http, content, headers | {"content-encoding": "gzip"}))[0] == 415


async def test_no_json_is_our_fault(http, shared_data: Path):
    """The rows for endpoints that take JSON: none of them is an inference request."""
    folder = shared_data / "badinputs"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"].startswith("json-")]
    assert len(rows) > 100
    for row in rows:
        await refusal(http, (folder / row["file"]).read_bytes())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(["name", "shape", "datatype", "parameters", "data", "id", "inputs", "outputs", "more"]),
    value=JSON,
)
async def test_any_json_in_any_place_is_refused_or_scored(http, field, value):
    request = orjson.loads(asked())
    within = request if field in ("id", "inputs", "outputs", "more") else request["inputs"][0]
    within[field] = value
    try:
        content = orjson.dumps(request)
    except orjson.JSONEncodeError:
        return
    answer = await http.post(INFER, content=content)
    assert answer.status_code < 500
    assert answer.status_code == 200 or list(answer.json()) == ["error"]


async def test_the_metadata_says_what_is_accepted(http, tiny_models):
    version = Registry(tiny_models).active()
    server = (await http.get("/v2")).json()
    assert server == {"name": "steelsight", "version": "1", "extensions": ["binary_tensor_data"]}
    for path in ("/v2/models/steelsight", f"/v2/models/steelsight/versions/{version}"):
        assert (await http.get(path)).json() == {
            "name": "steelsight",
            "versions": [version],
            "platform": "steelsight_onnx",
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, TILE, TILE, 1]}],
            "outputs": [{"name": "defect_probability", "datatype": "FP32", "shape": [-1, 1]}],
        }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/steelsight/versions/none", 404),
        ("GET", "/v2/models/steelsight/versions/none/ready", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/steelsight/versions/none/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/steelsight/infer", 405),
        ("POST", "/v2/models/steelsight", 405),
        ("DELETE", "/v2/models/steelsight/infer", 405),
    ],
)
async def test_what_is_not_there_is_refused_in_the_same_shape(http, method, path, status):
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert (status == 405) == ("allow" in answer.headers)


async def test_a_full_server_says_so_in_the_same_shape(start, tiny_models, tiles):
    content, headers = binary(tiles[:1])
    async with start(models=tiny_models, max_in_flight=1) as running:
        await running.until_ready()
        with running.service.pool.place():
            answer = await running.http.post(INFER, content=content, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"].startswith("overloaded: ")
        assert (await running.http.post(INFER, content=content, headers=headers)).status_code == 200


async def test_many_tiles_are_bounded_by_their_pixels(start, tiny_models, tiles):
    async with start(models=tiny_models, max_pixels=3 * TILE * TILE) as running:
        await running.until_ready()
        for count, status in ((3, 200), (4, 413)):
            content, headers = binary(tiles[:count])
            assert (await running.http.post(INFER, content=content, headers=headers)).status_code == status


async def test_without_a_model_it_is_not_ready(start, tmp_path):
    async with start(models=tmp_path) as running:
        await running.service.slot.refresh()
        assert (await running.http.get("/v2/health/live")).json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/steelsight", "/v2/models/steelsight/ready"):
            answer = await running.http.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"].startswith("no_active_model: ")


async def test_inferences_are_counted_by_their_route(start, tiny_models, tiles):
    async with start(models=tiny_models) as running:
        await running.until_ready()
        content, headers = binary(tiles)
        await running.http.post(INFER, content=content, headers=headers)
        metrics = running.service.metrics.registry
        labels = {"route": "/v2/models/{model}/infer", "status": "200"}
        assert metrics.get_sample_value("steelsight_requests_total", labels) == 1
        assert metrics.get_sample_value("steelsight_tiles_total") == len(tiles)
