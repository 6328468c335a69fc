"""How a body is read: its cap, its pace, its multipart form, and a client that leaves."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.multipart import parts
from app.refusals import Refusal, ServiceCode

pytestmark = pytest.mark.anyio

BOUNDARY = b"boundary"


def form(*fields: tuple[str, bytes], closed: bool = True) -> bytes:
    """A multipart body of these named parts."""
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY, name.encode(), data)
        for name, data in fields
    )
    return body + (b"--%s--\r\n" % BOUNDARY if closed else b"")


def scope(headers: dict[bytes, bytes], query: bytes = b"") -> dict:
    """What a server hands to the application for POST /v1/inspect."""
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/inspect",
        "query_string": query,
        "headers": list(headers.items()),
        "client": ("127.0.0.1", 1),
    }


async def endless(reads: list[int]):
    """A body without an end that notes what was read of it."""
    while True:
        reads.append(1)
        yield bytes(1000)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(('name="image"; filename="a.png"', b"x"), ('name="image"', b"y")), "more than 1 part"),
        (form(('name="picture"', b"x")), "'picture'"),
        (form(("filename=image", b"x")), "Content-Disposition"),
        (form(('name="image"', b"x"), closed=False), "cut short"),
        (b"--boundary--\r\n", ""),
        (b"no boundary at all", "malformed"),
        (b"\r\n" * 1000, "cut short"),
    ],
)
async def test_a_form_must_hold_one_part_named_image(post, body, says):
    answer = await post(body, "multipart/form-data; boundary=boundary")
    assert (answer.status_code, answer.json()["code"]) == (400, "multipart_invalid")
    assert says in answer.json()["detail"]


async def test_a_form_needs_a_boundary(post):
    answer = await post(form(('name="image"', b"x")), "multipart/form-data")
    assert (answer.status_code, answer.json()["code"]) == (400, "multipart_invalid")


async def test_a_part_with_a_broken_image_is_refused_as_the_image_is(post):
    answer = await post(form(('name="image"', b"")), "multipart/form-data; boundary=boundary")
    assert (answer.status_code, answer.json()["code"]) == (400, "body_empty")


@given(data=st.binary(max_size=300) | st.text("\r\n-b", max_size=300).map(str.encode))
def test_a_part_comes_out_as_it_went_in(data):
    if b"\r\n--" + BOUNDARY in b"\r\n" + data:
        return
    assert [(part.name, part.data) for part in parts(form(('name="image"', data)), BOUNDARY, most=1)] == [
        ("image", data)
    ]


@given(st.binary(max_size=300).map(lambda noise: b"--boundary\r\n" + noise) | st.binary(max_size=300))
def test_a_malformed_form_is_refused_and_nothing_else(body):
    with pytest.raises(Refusal) as caught:
        parts(body, BOUNDARY, most=1)
    assert caught.value.code is ServiceCode.MULTIPART_INVALID


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("br, gzip", 415), ("Identity", 200)])
async def test_an_encoded_body_is_refused_as_that_and_not_as_a_broken_image(http, png, encoding, status):
    headers = {"content-type": "image/png", "content-encoding": encoding}
    answer = await http.post("/v1/inspect", content=png, headers=headers)
    assert answer.status_code == status
    assert answer.json().get("code") == (None if status == 200 else "content_type_unsupported")


async def test_a_body_over_the_cap_is_cut_off_while_it_comes(start, tiny_models):
    reads: list[int] = []
    async with start(models=tiny_models, max_body_bytes=10_000) as running:
        await running.until_ready()
        headers = {"content-type": "image/png"}
        answer = await running.http.post("/v1/inspect", content=endless(reads), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert len(reads) <= 12


async def test_a_body_that_announces_too_much_is_not_read(start, tiny_models):
    reads: list[int] = []
    async with start(models=tiny_models, max_body_bytes=10_000) as running:
        await running.until_ready()
        headers = {"content-type": "image/png", "content-length": "10001"}
        answer = await running.http.post("/v1/inspect", content=endless(reads), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert not reads


async def test_a_body_that_does_not_come_is_given_up(start, tiny_models):
    async def slow():
        yield b"\x89PNG"
        await asyncio.sleep(60)

    async with start(models=tiny_models, body_seconds=0.1) as running:
        await running.until_ready()
        answer = await running.http.post("/v1/inspect", content=slow(), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"


async def test_a_client_that_leaves_is_one_quiet_log_line(served):
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    with capture_logs() as lines:
        await served.app(scope({b"content-type": b"image/png"}), receive, send)
    assert not sent
    assert [(line["status"], line["exc_info"]) for line in lines] == [(499, None)]


async def test_past_the_last_place_a_request_is_refused_unread(start, tiny_models, png):
    reads = []
    async with start(models=tiny_models, max_in_flight=1) as running:
        await running.until_ready()
        headers = {"content-type": "image/png"}
        with running.service.pool.place():
            second = await running.http.post("/v1/inspect", content=endless(reads), headers=headers)
            healthy = await running.http.get("/healthz")
        third = await running.http.post("/v1/inspect", content=png, headers=headers)
    assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (503, "overloaded", "1")
    assert not reads
    assert (healthy.status_code, third.status_code) == (200, 200)
