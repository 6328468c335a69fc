"""What a server notices by itself, between the frames."""

import asyncio
import getpass
import os

import pytest
from structlog.testing import capture_logs

from app.examined import Examinations
from app.housekeeping import Housekeeping
from app.store import audit, runs
from model.command import main
from model.registry import POINTER
from tests.conftest import TINY_VERSIONS

pytestmark = pytest.mark.anyio
FIRST, SECOND = TINY_VERSIONS


def told(running):
    with running.service.store.reading() as connection:
        assert audit.verify(connection) is None
        return [(line.action, line.subject, line.detail["before"], line.actor) for line in audit.lines(connection)]


async def looked(*all_workers: Housekeeping) -> None:
    for _ in range(3):
        for each in all_workers:
            await each.tell_activation()


async def test_a_closed_coil_is_read_through_once(start, own_models, steel_frame, as_png):
    async with start(models=own_models) as running:
        await running.until_ready()
        picture, tolerance_mm = as_png(steel_frame(64, 64)), running.service.store.plant.coverage.tolerance_mm
        for sequence in (1, 2, 5):
            sent = {"coil_id": "C1", "camera_id": "top-1", "sequence": sequence}
            headers = {"content-type": "image/png"}
            assert (await running.http.post("/v1/inspect", params=sent, content=picture, headers=headers)).is_success
        assert (await running.http.post("/v1/coils/C1/close")).is_success
        before = (await running.http.get("/v1/coils/C1")).json()
        keeping = Housekeeping(running.service)
        await keeping.keep_runs()
        with running.service.store.reading() as connection:
            assert runs.unkept(connection, tolerance_mm, 10) == []
            assert len(runs.runs_of(connection, 1, tolerance_mm)) == 2
        running.service.store.examinations = Examinations(running.service.store.plant)
        assert (await running.http.get("/v1/coils/C1")).json() == before


async def test_a_version_that_the_command_line_made_active_is_told_once(start, own_models):
    me = f"os:{getpass.getuser()}"
    async with start(models=own_models) as running:
        await running.until_ready()
        workers = Housekeeping(running.service), Housekeeping(running.service)
        await looked(*workers)
        assert told(running) == [("model.activate", FIRST, None, me)]
        main(["activate", SECOND, "--models", str(own_models)])
        await looked(*workers)
        main(["rollback", "--models", str(own_models)])
        await looked(*workers)
        assert told(running)[1:] == [("model.activate", SECOND, FIRST, me), ("model.activate", FIRST, SECOND, me)]
        # A server that starts later finds all told.
        await looked(Housekeeping(running.service))
        assert len(told(running)) == 3


async def test_what_the_api_activated_is_told_by_it_alone(start, own_models):
    async with start(models=own_models) as running:
        await running.until_ready()
        keeping = Housekeeping(running.service)
        await looked(keeping)
        for path in (f"/v1/models/{SECOND}/activate", "/v1/models/rollback"):
            assert (await running.http.post(path)).is_success
            await looked(keeping)
        assert [line[:3] for line in told(running)[1:]] == [
            ("model.activate", SECOND, FIRST),
            ("model.rollback", FIRST, SECOND),
        ]


async def test_what_moved_at_this_moment_may_still_be_told_by_whoever_moved_it(start, own_models):
    async with start(models=own_models) as running:
        await running.until_ready()
        await Housekeeping(running.service).tell_activation()
        assert told(running) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
async def test_a_user_without_a_name(start, own_models):
    async with start(models=own_models) as running:
        await running.until_ready()
        os.chown(own_models / POINTER, 54321, -1)
        await looked(Housekeeping(running.service))
        assert told(running) == [("model.activate", FIRST, None, "os:54321")]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
async def test_a_pointer_that_is_gone_or_damaged_is_nothing_to_tell(start, own_models, damage):
    async with start(models=own_models) as running:
        await running.until_ready()
        damage(own_models / POINTER)
        await looked(Housekeeping(running.service))
        assert told(running) == []


@pytest.mark.parametrize(
    "step", ["renew", "close_idle_coils", "keep_runs", "tell_activation", "delete_images", "count_images"]
)
async def test_a_step_that_fails_keeps_no_other_from_its_turn(start, tiny_models, step):
    async def fails() -> None:
        raise OverflowError("date value out of range")

    async with start(models=tiny_models) as running:
        keeping = Housekeeping(running.service)
        swept = asyncio.Event()

        async def sweeps() -> None:
            swept.set()

        fails.__name__ = step
        setattr(keeping, step, fails)
        keeping.sweep_next = sweeps
        with capture_logs() as lines:
            keeps = asyncio.create_task(keeping.run())
            await asyncio.wait_for(swept.wait(), 30)
            keeps.cancel()
        assert {(line["step"], line["reason"]) for line in lines if line["event"] == "housekeeping_failed"} == {
            (step, "date value out of range")
        }
