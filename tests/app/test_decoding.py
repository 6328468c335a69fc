"""Processes that decode: they say what decoding inside says, have nothing to lose, and what kills one is one file."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from app.decode.wire import Terms
from app.decoding import Decoded, Decoding, InsideDecoder, IsolatedDecoder, Keeper
from app.metrics import Metrics
from app.refusals import Refusal, ServiceCode
from app.settings import load
from model.errors import SteelsightError
from model.image import Limits
from tests.app.waiting import wait_until

pytestmark = pytest.mark.anyio

MB = 1024 * 1024
ENOUGH = 100 * 100
TERMS = Terms(
    max_pixels=4_000_000, min_side=8, file_bytes=8 * MB, enough_pixels=ENOUGH, memory_bytes=64 * MB, seconds=5
)


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    made = Keeper(TERMS)
    made.open()
    yield made
    made.close()


@pytest.fixture
def decoder(keeper: Keeper) -> Iterator[IsolatedDecoder]:
    made = IsolatedDecoder(keeper, Metrics())
    yield made
    made.close()


@pytest.fixture
def bounded() -> Iterator[Callable[..., IsolatedDecoder]]:
    """`bounded(seconds=0.1)`: a decoder whose terms differ in this."""
    keepers: list[Keeper] = []
    decoders: list[IsolatedDecoder] = []

    def make(**terms: Any) -> IsolatedDecoder:
        keepers.append(Keeper(replace(TERMS, **terms)))
        decoders.append(IsolatedDecoder(keepers[-1], Metrics()))
        return decoders[-1]

    yield make
    for decoder in decoders:
        decoder.close()
    for keeper in keepers:
        keeper.close()


def files(frame: np.ndarray) -> list[bytes]:
    """The frame in every format, and some of them broken."""
    made = []
    for kind, fields in (
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("WEBP", {"lossless": True}),
        ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ):  # fmt: skip
        target = io.BytesIO()
        Image.fromarray(frame).save(target, kind, **fields)
        made += [target.getvalue(), target.getvalue()[: len(target.getvalue()) // 2]]
    return [*made, b"no image", b"GIF89a", b"\xff\xd8\xff\xe0"]


def alike(one: Decoded | Exception, other: Decoded | Exception) -> bool:
    if isinstance(one, Decoded) and isinstance(other, Decoded):
        return np.array_equal(one.frame, other.frame)
    return (
        isinstance(one, SteelsightError)
        and isinstance(other, SteelsightError)
        and (one.code, one.message) == (other.code, other.message)
    )


def decoded_each(decoder: IsolatedDecoder | InsideDecoder, several: list[bytes]) -> list[Decoded | Exception]:
    return [each for file in several for each in decoder.decode([file])]


def test_it_says_what_decoding_inside_says(decoder, steel_frame):
    several = files(steel_frame(90, 120, seed=1))
    inside = decoded_each(InsideDecoder(Limits(TERMS.max_pixels, TERMS.min_side), ENOUGH), several)
    isolated = decoded_each(decoder, several)
    assert [isinstance(each, Decoded) for each in inside].count(True) >= 8
    assert all(map(alike, inside, isolated))


def test_it_says_so_of_public_inputs_too(decoder, shared_data):
    """Also that no module is missing which only an odd file needs: a process that decodes can open none any more."""
    several = [path.read_bytes() for path in sorted((shared_data / "badinputs").glob("*.*"))]
    several = [file for file in several if 0 < len(file) < TERMS.file_bytes]
    assert len(several) > 400
    inside = decoded_each(InsideDecoder(Limits(TERMS.max_pixels, TERMS.min_side), ENOUGH), several)
    isolated = decoded_each(decoder, several)
    assert not [
        (file[:40], one, other) for file, one, other in zip(several, inside, isolated, strict=True)
        if not alike(one, other)
    ]  # fmt: skip


def test_of_several_files_none_is_begun_once_there_are_enough(decoder, as_png, steel_frame):
    small, large = as_png(steel_frame(40, 40)), as_png(steel_frame(100, 100))
    told = decoder.decode([small, b"no image", small, large, small])
    assert [isinstance(each, Decoded) for each in told] == [True, False, True, True]
    inside = InsideDecoder(Limits(), ENOUGH).decode([small, b"no image", small, large, small])
    assert all(map(alike, told, inside))


def test_frames_do_not_share_memory_with_what_comes_next(decoder, as_png, steel_frame):
    first, second = steel_frame(40, 40, seed=1), steel_frame(40, 40, seed=2)
    (kept,) = decoder.decode([as_png(first)])
    decoder.decode([as_png(second)])
    assert np.array_equal(kept.frame, first)


def test_a_large_frame_s_shared_memory_is_given_back(bounded, as_png):
    decoder = bounded(max_pixels=40_000_000, memory_bytes=400 * MB)
    frame = np.tile(np.arange(250, dtype=np.uint8), (5000, 20))
    assert np.array_equal(decoder.decode([as_png(frame)])[0].frame, frame)
    lines = iter(Path("/proc/self/smaps").read_text(encoding="ascii").splitlines())
    held = [next(line for line in lines if line.startswith("Rss:")) for line in lines if "steelsight-decode" in line]
    assert held
    assert sum(int(each.split()[1]) for each in held) < 20 * 1024


def refusal(told: Decoded | Exception) -> str:
    assert isinstance(told, Refusal)
    return told.code


def test_a_file_that_takes_too_long_costs_its_own_request(bounded, as_png, steel_frame):
    decoder = bounded(seconds=0.05, max_pixels=40_000_000, memory_bytes=400 * MB, enough_pixels=10**9)
    # In coarse to fine scans: several times the work of any other kind of file of its size.
    slow, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (2600, 2600), np.uint8)
    Image.fromarray(noise).save(slow, "JPEG", quality=95, progressive=True)
    quick = as_png(steel_frame(40, 40))
    with capture_logs() as logs:
        told = decoder.decode([quick, slow.getvalue(), quick])
    assert [isinstance(each, Decoded) for each in told] == [True, False, True]
    assert refusal(told[1]) is ServiceCode.IMAGE_UNDECODABLE
    assert all("SIGPROF" in line["end"] for line in logs)
    assert isinstance(decoder.decode([quick])[0], Decoded)


def test_a_file_that_needs_too_much_memory_costs_its_own_request(bounded, as_png, steel_frame):
    decoder = bounded(memory_bytes=20 * MB, max_pixels=64_000_000)
    told = decoder.decode([as_png(np.zeros((7000, 7000), np.uint8))])[0]
    assert refusal(told) is ServiceCode.IMAGE_UNDECODABLE
    assert isinstance(decoder.decode([as_png(steel_frame(40, 40))])[0], Decoded)


def test_a_process_that_died_in_between_costs_nothing(decoder, as_png, steel_frame):
    file = as_png(steel_frame(40, 40))
    decoder.decode([file])
    killed = decoder.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not running(killed))
    assert isinstance(decoder.decode([file])[0], Decoded)
    assert decoder.pid != killed


def test_a_keeper_that_died_is_replaced(bounded, as_png, steel_frame):
    decoder = bounded()
    file = as_png(steel_frame(40, 40))
    decoder.decode([file])
    keeper = int(status(decoder.pid)["PPid"])
    killed = [decoder.pid, keeper]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(running, killed)))
    assert isinstance(decoder.decode([file])[0], Decoded)
    assert int(status(decoder.pid)["PPid"]) != keeper


def test_nothing_is_left_when_it_closes(as_png, steel_frame):
    decoding = Decoding(load({}, {}), Metrics(), ENOUGH)
    decoder = decoding.decoder()
    decoder.decode([as_png(steel_frame(40, 40))])
    pids = [decoder.pid, int(status(decoder.pid)["PPid"])]
    decoder.close()
    decoding.close()
    wait_until(lambda: not any(map(running, pids)))


GIVEN_UP = """
import os, resource, socket, sys
from app.decode.child import give_up
from app.decode.wire import Terms
give_up(Terms(1, 1, 1, 1, 50 << 20, 1))
for name, act in {
    "file": lambda: open("/etc/hostname"),
    "directory": lambda: os.listdir("/"),
    "network": lambda: socket.socket(),
    "process": os.fork,
    "other program": lambda: os.execv("/bin/true", ["true"]),
    "memory": lambda: bytearray(100 << 20),
    "more of it": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)),
    "server": lambda: os.kill(os.getppid(), 0),
}.items():
    try:
        act()
    except (OSError, MemoryError, ValueError):
        continue
    os.write(1, name.encode())
os.write(1, b"done")
"""


def test_it_has_given_up_files_network_processes_and_memory():
    done = subprocess.run([sys.executable, "-c", GIVEN_UP], stdout=subprocess.PIPE, check=False)
    assert done.stdout == b"done"


async def test_a_server_refuses_the_one_frame_and_goes_on(start, tiny_models, png):
    """Over HTTP: the process is killed while it decodes, as the kernel would when memory ends."""
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000), np.uint8)
    target = io.BytesIO()
    Image.fromarray(noise).save(target, "TIFF", compression="tiff_lzw")
    async with start(models=tiny_models, concurrency=1) as one:
        await one.until_ready()
        assert (
            await one.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        ).status_code == 200
        keeper = one.service.decoding._keeper._process.pid
        (child,) = children(keeper)
        os.kill(child, signal.SIGSTOP)
        asked = asyncio.create_task(
            one.http.post("/v1/inspect", content=target.getvalue(), headers={"content-type": "image/tiff"})
        )
        await asyncio.sleep(0.3)
        os.kill(child, signal.SIGKILL)
        refused = await asked
        assert (refused.status_code, refused.json()["code"]) == (422, "image_undecodable")
        assert (
            await one.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        ).status_code == 200
        assert "steelsight_decoders_lost_total 1.0" in (await one.http.get("/metrics")).text


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))


def running(pid: int) -> bool:
    try:
        return not status(pid)["State"].startswith("Z")
    except FileNotFoundError:
        return False
