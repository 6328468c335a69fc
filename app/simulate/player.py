"""The cameras at work: each sends its frames in order, in time, a few at once, and none is dropped for being late."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from app.simulate.line import Body, Line
from app.simulate.plan import Camera, Plan, Take
from app.simulate.tally import VERDICTS, Tally

# "Later", with or without a word when; all else that is refused would be refused again.
ASKED_TO_WAIT = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
# Without that word, and after a lost connection: twice as long each time.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
# Longer than the server's own deadline of 10 s: whoever hangs up before that asks twice for one answer.
ANSWER_WITHIN_S = 30.0


class PlayFault(Exception):
    """Why the coil cannot be played to its end, in one line."""


@dataclass(frozen=True)
class Pace:
    """How frames are sent.

    faster: none waits for its moment. in_flight: of each camera at once; more than one may overtake each other.
    patience_s: how long a frame is tried before it is given up.
    """

    faster: bool = False
    in_flight: int = 1
    patience_s: float = 30.0


class Player:
    """Sends one coil. `begun` is the moment that its simulated time counts from, set by `play`."""

    def __init__(self, http: httpx.AsyncClient, line: Line, plan: Plan, coil_id: str, pace: Pace) -> None:
        self.tally = Tally()
        self._http, self._line, self._plan, self._coil_id, self._pace = http, line, plan, coil_id, pace
        # A coil may be played twice under one name: the second time its frames are other frames.
        self._run = uuid4().hex[:12]
        self._begun = datetime.now(UTC)
        self._begun_monotonic = time.monotonic()

    async def open(self, width_mm: float | None) -> None:
        """Open the coil. Raises `PlayFault`, also for one that was closed before."""
        coil = {"coil_id": self._coil_id, "length_mm": self._plan.length_mm, "width_mm": width_mm}
        try:
            answer = await self._http.post("/v1/coils", json={name: value for name, value in coil.items() if value})
        except httpx.RequestError as error:
            raise PlayFault(
                f"no answer from {self._http.base_url}: {error or type(error).__name__}; start the server with "
                "`python -m app serve`, or say where it is with --url"
            ) from error
        if self._told(answer, "open").get("closed_at"):
            raise PlayFault(f"coil {self._coil_id} is closed; name another one with --coil")

    async def close(self) -> None:
        """Close the coil, as patiently as a frame is sent. Raises `PlayFault`."""
        answer = await self._patiently(f"/v1/coils/{quote(self._coil_id, safe='')}/close")
        if answer is None:
            raise PlayFault(f"no answer from {self._http.base_url}; coil {self._coil_id} is left open")
        self._told(answer, "close")

    async def play(self) -> None:
        """Send all frames of all cameras."""
        self._begun, self._begun_monotonic = datetime.now(UTC), time.monotonic()
        if self._pace.faster:
            # Its simulated time ends now: no frame claims to be taken in the future.
            self._begun -= timedelta(seconds=self._plan.duration_s)
        try:
            async with asyncio.TaskGroup() as cameras:
                for camera in self._plan.cameras:
                    cameras.create_task(self._play(camera))
        except* OSError as unreadable:
            fault = unreadable
        else:
            return
        raise PlayFault(f"a frame of the folder can no longer be read: {_first(fault)}")

    async def _play(self, camera: Camera) -> None:
        places = asyncio.Semaphore(self._pace.in_flight)
        async with asyncio.TaskGroup() as sending:
            for take in self._plan.takes(camera):
                if take.missing:
                    continue
                await places.acquire()
                body = await asyncio.to_thread(self._line.body, take)
                lag_s = await self._moment_of(take)
                self.tally.leaves(take, body.pixels, lag_s)
                sending.create_task(self._send(take, body, places))

    async def _moment_of(self, take: Take) -> float:
        """Wait for the moment that the frame is taken; how many seconds ago it was."""
        if self._pace.faster:
            # A body that was ready at once must not keep the answers from being read.
            await asyncio.sleep(0)
            return 0.0
        early_s = self._begun_monotonic + take.captured_s - time.monotonic()
        if early_s > 0:
            await asyncio.sleep(early_s)
            return 0.0
        return -early_s

    async def _send(self, take: Take, body: Body, places: asyncio.Semaphore) -> None:
        try:
            answer = await self._patiently(
                "/v1/inspect",
                content=body.content,
                headers={"content-type": body.media_type},
                params=self._query(take) | dict(body.query),
            )
        finally:
            places.release()
        if answer is None:
            self.tally.given_up.append(take)
            return
        told = _fields(answer)
        if answer.is_success and told.get("verdict") in VERDICTS:
            self.tally.verdicts[told["verdict"]] += 1
        else:
            self.tally.refused[told.get("code", str(answer.status_code))] += 1

    def _query(self, take: Take) -> dict[str, str]:
        camera, captured_at = take.camera, self._begun + timedelta(seconds=take.captured_s)
        return {
            "camera_id": camera.camera_id,
            "coil_id": self._coil_id,
            "side": camera.side,
            "sequence": str(take.sequence),
            "position_mm": f"{take.position_mm:.6f}",
            "mm_per_pixel": f"{self._plan.mm_per_pixel:.9f}",
            "captured_at": captured_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "request_id": f"{self._run}-{camera.camera_id}-{take.sequence}",
        }

    async def _patiently(self, path: str, **request: Any) -> httpx.Response | None:
        """The answer to one and the same request, tried until there is one; None when patience is at an end.

        A frame that the server has on record already, its answer lost on the way, is known by its request_id.
        """
        give_up, wait_s = time.monotonic() + self._pace.patience_s, SHORTEST_WAIT_S
        while True:
            answer, asked_s = None, wait_s
            with suppress(httpx.RequestError):
                answer = await self._http.post(path, **request)
            if answer is not None:
                if answer.status_code not in ASKED_TO_WAIT:
                    return answer
                asked_s = _retry_after_s(answer.headers, wait_s)
            if time.monotonic() + asked_s > give_up:
                return None
            self.tally.retries += 1
            await asyncio.sleep(asked_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _told(self, answer: httpx.Response, verb: str) -> dict[str, Any]:
        told = _fields(answer)
        if not answer.is_success or "coil_id" not in told:
            said = told.get("detail", "without a reason")
            raise PlayFault(f"{self._http.base_url} did not {verb} coil {self._coil_id}: {answer.status_code}, {said}")
        return told


def _retry_after_s(headers: Mapping[str, str], otherwise_s: float) -> float:
    """What the server asked for, in seconds; a date, which HTTP allows too, is no use to a line.

    >>> _retry_after_s({"retry-after": "2"}, 0.1), _retry_after_s({}, 0.1)
    (2.0, 0.1)
    """
    asked = headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else otherwise_s


def _fields(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object that the server answers with; none where something between answers instead."""
    with suppress(ValueError):
        told = answer.json()
        if isinstance(told, dict):
            return told
    return {}


def _first(group: BaseExceptionGroup[OSError]) -> BaseException:
    """Any one that is not a group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
