"""Settings, manifests, queries, forms and binary tensors that were sound, changed: taken or refused, nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.multipart import parts
from app.parameters import BatchQuery, InspectQuery
from app.record_query import ExportQuery, PageQuery
from app.refusals import Refusal
from app.settings import Settings, SettingsError, load
from app.tensors import parse
from model.artifact import MANIFEST, read_manifest
from model.errors import SteelsightError

quick = settings(max_examples=100, derandomize=True)
text = st.text(max_size=40) | st.sampled_from(
    ["", "nan", "1e999", "-1", "1_000", "\x00", "\ud800", "٣", "true", "9" * 5000]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@quick
@given(values=st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), text, max_size=5))
def test_settings(values):
    try:
        load({f"STEELSIGHT_{name.upper()}": value for name, value in values.items()})
    except SettingsError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("model", [InspectQuery, BatchQuery, PageQuery, ExportQuery])
@quick
@given(
    raw=st.binary(max_size=60),
    names=st.lists(st.integers(0, 30), max_size=3),
    values=st.lists(st.binary(max_size=20), max_size=3),
)
def test_queries(model, raw, names, values):
    fields = sorted(model.model_fields)
    pairs = [fields[number % len(fields)].encode() + b"=" + value for number, value in zip(names, values, strict=False)]
    for query in (raw, b"&".join(pairs)):
        try:
            model.parsed(query)
        except Refusal as error:
            assert error.message.isascii() or error.message.isprintable()


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\nBM\r\n--b--\r\n"
)


@quick
@given(at=st.integers(0, len(FORM)), until=st.integers(0, 20), put=st.binary(max_size=20))
def test_forms(at, until, put):
    try:
        found = parts(FORM[:at] + put + FORM[at + until :], b"b", most=3)
    except Refusal:
        return
    assert len(found) <= 3


HEAD = {
    "id": "7",
    "inputs": [{"name": "image", "shape": [1, 4, 4, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 16}}],
    "outputs": [{"name": "defect_probability", "parameters": {"binary_data": True}}],
}


def changed(draw: Any, document: Any) -> Any:
    """With one value in it replaced."""
    if isinstance(document, dict) and document and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(document)))
        return document | {name: changed(draw, document[name])}
    if isinstance(document, list) and document and draw(st.booleans()):
        return [changed(draw, document[0]), *document[1:]]
    return draw(json_values)


@quick
@given(data=st.data(), tail=st.binary(max_size=20), head_bytes=st.integers(-1, 300))
def test_binary_tensors(data, tail, head_bytes):
    head = json.dumps(changed(data.draw, HEAD)).encode()
    for length in (len(head), max(0, head_bytes), None):
        try:
            asked = parse(head + tail, length, 4, 1_000_000)
        except (Refusal, SteelsightError):
            continue
        assert asked.tiles.shape[1:] == (4, 4)


@pytest.fixture(scope="module")
def manifest(tiny_models: Path) -> dict[str, Any]:
    return json.loads((tiny_models / "tiny-64-first" / MANIFEST).read_text(encoding="utf-8"))


@quick
@given(data=st.data())
def test_manifests(tmp_path_factory, manifest, data):
    folder = tmp_path_factory.mktemp("version") / "tiny-64-first"
    folder.mkdir()
    body = json.dumps(changed(data.draw, manifest)).encode()
    cut = data.draw(st.integers(0, len(body)))
    for content in (body, body[:cut]):
        (folder / MANIFEST).write_bytes(content)
        try:
            read_manifest(folder)
        except SteelsightError:
            continue
