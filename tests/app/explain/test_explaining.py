"""The process that explains costs one request whatever becomes of it, and never outlives what it is for.

No question here needs TensorFlow, which takes seconds to start: an unknown version is answered without.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.explain.messages import Question
from app.explaining import PLACES, Explaining
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from tests.app.waiting import until

pytestmark = pytest.mark.anyio

FRAME = np.zeros((8, 8), np.uint8)
UNKNOWN = Question(version="none", height=8, width=8)
SOON_S = 20


@pytest.fixture
async def explaining(tiny_models):
    one = Explaining(Settings(models=tiny_models))
    yield one
    one.close()


def is_there(pid):
    try:
        # Also a process that has ended and that nobody has asked after yet.
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def answered(explaining):
    """A whole round trip: the process refuses."""
    with pytest.raises(SteelsightError) as refusal:
        await explaining.ask(UNKNOWN, FRAME)
    assert refusal.value.code is ErrorCode.MODEL_UNKNOWN
    assert "tiny-64-first" in refusal.value.message


async def refused(explaining, code):
    with pytest.raises(Refusal) as refusal:
        await explaining.ask(UNKNOWN, FRAME)
    assert refusal.value.code is code
    return refusal.value.message


async def test_it_is_started_by_the_first_question_and_kept(explaining):
    assert explaining.pid is None
    await answered(explaining)
    first = explaining.pid
    assert first is not None
    await answered(explaining)
    assert explaining.pid == first


async def test_it_gives_way_to_inspections(explaining):
    await answered(explaining)
    assert os.getpriority(os.PRIO_PROCESS, explaining.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


async def test_its_death_costs_the_request_that_it_was_busy_with(explaining):
    await answered(explaining)
    dead = explaining.pid
    os.kill(dead, signal.SIGSTOP)
    lost = asyncio.create_task(refused(explaining, ServiceCode.EXPLAIN_UNAVAILABLE))
    waiting = asyncio.create_task(answered(explaining))
    await asyncio.sleep(0)
    os.kill(dead, signal.SIGKILL)
    assert "ended unexpectedly (exit code -9)" in await lost
    await waiting
    assert explaining.pid != dead
    assert not is_there(dead)


async def test_its_death_while_it_idles_is_noticed_by_the_next_question(explaining):
    await answered(explaining)
    os.kill(explaining.pid, signal.SIGKILL)
    await refused(explaining, ServiceCode.EXPLAIN_UNAVAILABLE)
    await answered(explaining)


async def test_at_its_limit_it_is_killed(tiny_models):
    explaining = Explaining(Settings(models=tiny_models), limit_s=0.001)
    message = await refused(explaining, ServiceCode.DEADLINE_EXCEEDED)
    assert "within 0.002 s" in message
    assert explaining.pid is None
    explaining.close()


async def test_what_waited_too_long_is_not_begun(tiny_models):
    explaining = Explaining(Settings(models=tiny_models), wait_s=0)
    assert "was not begun" in await refused(explaining, ServiceCode.DEADLINE_EXCEEDED)
    assert explaining.pid is None
    explaining.close()


async def test_it_is_let_go_when_nobody_asks(tiny_models):
    explaining = Explaining(Settings(models=tiny_models), idle_s=0.05)
    await answered(explaining)
    await until(lambda: explaining.pid is None)
    await answered(explaining)
    explaining.close()
    assert explaining.pid is None


async def test_the_more_workers_the_sooner_it_is_let_go(tiny_models):
    explaining = Explaining(Settings(models=tiny_models, workers=200), idle_s=10)
    await answered(explaining)
    started = time.monotonic()
    await until(lambda: explaining.pid is None)
    assert time.monotonic() - started < 5
    explaining.close()


async def test_closing_ends_it_and_answers_whoever_waits(tiny_models):
    explaining = Explaining(Settings(models=tiny_models))
    await answered(explaining)
    pid = explaining.pid
    os.kill(pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(refused(explaining, ServiceCode.SHUTTING_DOWN)) for _ in range(3)]
    await asyncio.sleep(0)
    explaining.close()
    await asyncio.gather(*waiting)
    assert not is_there(pid)
    await refused(explaining, ServiceCode.SHUTTING_DOWN)


async def test_a_cancelled_request_is_not_answered(explaining):
    await answered(explaining)
    os.kill(explaining.pid, signal.SIGSTOP)
    busy = asyncio.create_task(answered(explaining))
    cancelled = asyncio.create_task(explaining.ask(UNKNOWN, FRAME))
    await asyncio.sleep(0)
    cancelled.cancel()
    os.kill(explaining.pid, signal.SIGCONT)
    await busy
    await answered(explaining)


async def test_places_are_bounded(explaining):
    held = [explaining.place() for _ in range(PLACES)]
    for place in held:
        place.__enter__()
    with pytest.raises(Refusal) as refusal, explaining.place():
        pass
    assert refusal.value.code is ServiceCode.OVERLOADED
    held[0].__exit__(None, None, None)
    with explaining.place():
        pass


async def test_without_tensorflow_it_says_what_to_install(explaining, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as Python itself notes that a module cannot be imported
    with pytest.raises(Refusal) as refusal, explaining.place():
        pass
    assert refusal.value.code is ServiceCode.EXPLAIN_UNAVAILABLE
    assert "`train` extra" in refusal.value.message
    assert "keras" not in refusal.value.message


def test_it_does_not_outlive_a_server_that_is_killed(tiny_models):
    program = """
import sys, time
from pathlib import Path
from app.explaining import Child
child = Child([sys.executable, "-m", "app.explain", sys.argv[1]], {})
print(child.pid, flush=True)
time.sleep(600)
"""
    server = subprocess.Popen([sys.executable, "-c", program, str(tiny_models)], stdout=subprocess.PIPE, text=True)
    pid = int(server.stdout.readline())
    assert is_there(pid)
    server.kill()
    server.wait()
    server.stdout.close()
    ends = time.monotonic() + SOON_S
    while is_there(pid):
        assert time.monotonic() < ends
        time.sleep(0.01)
