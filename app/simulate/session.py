"""One run of the command: arguments -> plan and line -> frames sent -> what became of them."""

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import httpx

from app.access.caller import CallerError, reach
from app.complaints import echo
from app.parameters import FARTHEST_MM, LARGEST_PIXEL_MM
from app.simulate.line import DrawnLine, FolderLine, Line, read_folder
from app.simulate.plan import MOST_FRAMES, Plan, PlanError, Stop, choose_loss, name_cameras
from app.simulate.planting import Planting, repeat, scatter
from app.simulate.player import ANSWER_WITHIN_S, Pace, Player, PlayFault
from app.simulate.tally import Summary
from synthetic.strip import roll_steel

EXIT_DONE, EXIT_FAULT, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# A person watches a terminal; a log file is only filled by more than a line now and then.
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LINES = 0.2, 10.0
CLEAR_LINE = "\r\x1b[K"
# The sheets of steel take 8.6 kB a column; and no network sees anything in less.
WIDEST_PX, NARROWEST_PX = 65536, 16
# What a server takes in a body unless it is told otherwise.
MOST_PIXELS = 2**27
# From the least that could be meant to what no line has and no server takes: past these a number is a mistake, and the
# sums that follow from it are no numbers, or fill the memory.
BOUNDS = {
    "cameras": (1, 64),
    "speed_m_s": (0.001, 1000),
    "length_m": (0.001, FARTHEST_MM / 1000),
    "mm_per_pixel": (0.001, LARGEST_PIXEL_MM),
    "width_px": (NARROWEST_PX, WIDEST_PX),
    "rows": (1, WIDEST_PX),
    "defects_per_100m": (0, 10_000),
    "period_mm": (0.001, FARTHEST_MM),
    "lose": (0, MOST_FRAMES),
    "seed": (0, 10**15),
    "in_flight": (1, 1000),
    "patience_s": (0.001, 86_400),
}
DRAWN_ONLY = ("width_px", "rows", "defects_per_100m", "period_mm", "period_at", "format")
# What is drawn unless said otherwise; None in the arguments tells that nothing was said.
DRAWN_DEFAULTS = {"width_px": 1024, "rows": 512, "defects_per_100m": 10.0, "format": "raw", "length_m": 100.0}


class Session:
    """A run as the arguments want it. `http` is handed in by tests; else it is made from `--url`.

    Raises `PlanError` for what cannot be played.
    """

    def __init__(self, arguments: Namespace, http: httpx.AsyncClient | None = None) -> None:
        _check(arguments)
        self._arguments, self._http = arguments, http
        try:
            self._reach = reach(os.environ)
        except CallerError as error:
            raise PlanError(str(error)) from error
        self.coil_id: str = arguments.coil or f"SIM-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self.plan, self.planting, self._line, self._width_mm = (
            _folder(arguments) if arguments.folder else _drawn(arguments)
        )
        self._player: Player | None = None
        self._begun = time.monotonic()

    async def run(self) -> None:
        """Open the coil, send every frame, close it. Raises `PlayFault`."""
        chosen = self._arguments
        async with self._client() as http:
            pace = Pace(chosen.faster, chosen.in_flight, chosen.patience_s)
            self._player = Player(http, self._line, self.plan, self.coil_id, pace)
            await self._player.open(self._width_mm)
            self._begun = time.monotonic()
            async with self._telling():
                await self._player.play()
            await self._player.close()

    def summary(self, *, interrupted: bool = False) -> Summary | None:
        """What became of it so far; None before the server has answered once."""
        if self._player is None or not (interrupted or self._player.tally.sent):
            return None
        planted = self.planting.told(self.plan)
        period = self.planting.period(self.plan, self._arguments.period_mm) if self._arguments.period_mm else None
        seconds = time.monotonic() - self._begun
        return Summary(self.coil_id, self.plan, self._player.tally, planted, period, seconds, interrupted)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._http is not None:
            yield self._http
            return
        # One connection for each frame in flight and one to spare; a proxy of the office is no way to a line's server.
        connections = self._arguments.cameras * self._arguments.in_flight + 1
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        async with httpx.AsyncClient(
            base_url=self._arguments.url,
            limits=limits,
            timeout=ANSWER_WITHIN_S,
            trust_env=False,
            **self._reach,
        ) as http:
            yield http

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """Tell on stderr how far it is, for as long as this is open."""
        watched = sys.stderr.isatty()
        task = asyncio.create_task(self._tell(watched))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if watched:
                print(CLEAR_LINE, end="", file=sys.stderr, flush=True)

    async def _tell(self, watched: bool) -> None:
        assert self._player is not None
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS if watched else SECONDS_BETWEEN_LINES)
            line = self._player.tally.line(self.plan, time.monotonic() - self._begun)
            if watched:
                print(CLEAR_LINE + line, end="", file=sys.stderr, flush=True)
            else:
                print(line, file=sys.stderr, flush=True)


def run(arguments: Namespace) -> int:
    """Play a coil; the exit code."""
    session: Session | None = None
    fault: PlayFault | None = None
    interrupted = False
    try:
        session = Session(arguments)
        asyncio.run(session.run())
    except PlanError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except PlayFault as error:
        fault = error
    except KeyboardInterrupt:
        interrupted = True
    summary = None if session is None else session.summary(interrupted=interrupted)
    if summary is not None:
        print(summary.words())
    if fault is not None:
        print(f"error: {fault}", file=sys.stderr)
    if summary is not None and arguments.json:
        print(json.dumps(summary.told()), flush=True)
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_DONE if fault is None and summary is not None and summary.tally.answered else EXIT_FAULT


def _check(arguments: Namespace) -> None:
    """Raises `PlanError` for a value that nothing can be played with; fills in what is drawn by default."""
    for name, (least, most) in BOUNDS.items():
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise PlanError(f"{_flag(name)}: received {echo(value)}; expected {least:g} to {most:g}")
    if not _is_address(arguments.url):
        raise PlanError(f"--url: received {arguments.url!r}; expected an address such as http://127.0.0.1:8000")
    if arguments.sides is None:
        arguments.sides = "top,bottom" if arguments.cameras > 1 else "top"
    if arguments.period_at and not arguments.period_mm:
        raise PlanError("--period-at says where a defect returns; say at which interval with --period-mm")
    if arguments.folder:
        said = next((name for name in DRAWN_ONLY if getattr(arguments, name) is not None), None)
        if said:
            raise PlanError(f"{_flag(said)} is of a coil that is drawn; the frames of --folder are sent as they are")
        return
    for name, value in DRAWN_DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.rows * arguments.width_px > MOST_PIXELS:
        raise PlanError(
            f"--rows: received {arguments.rows}; with {arguments.width_px} columns this makes more than "
            f"{MOST_PIXELS:,} pixels a frame"
        )


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _drawn(arguments: Namespace) -> tuple[Plan, Planting, Line, float | None]:
    mm_per_pixel, width, seed = arguments.mm_per_pixel, arguments.width_px, arguments.seed
    frames = int(arguments.length_m * 1000 / (arguments.rows * mm_per_pixel) + 1e-9)
    # One too many is refused as all of them would be.
    plan = _plan(arguments, [[arguments.rows] * min(frames, MOST_FRAMES + 1)] * arguments.cameras)
    periodic = {}
    if arguments.period_mm:
        camera_id, across_mm = _place(arguments.period_at, plan)
        periodic = repeat(plan, arguments.period_mm, camera_id, across_mm, width, seed)
    planting = Planting(scatter(plan, arguments.defects_per_100m, width, seed), periodic)
    line = DrawnLine(roll_steel(seed, width), plan.cameras, planting, arguments.format, seed)
    side = max(sum(one.side == camera.side for one in plan.cameras) for camera in plan.cameras)
    return plan, planting, line, side * width * mm_per_pixel


def _folder(arguments: Namespace) -> tuple[Plan, Planting, Line, float | None]:
    files = read_folder(arguments.folder)
    if len(files) < arguments.cameras:
        raise PlanError(
            f"--cameras: received {arguments.cameras}; {arguments.folder} has {len(files)} frames to deal out"
        )
    line = FolderLine(files, arguments.cameras)
    rows = None if arguments.length_m is None else arguments.length_m * 1000 / arguments.mm_per_pixel
    return _plan(arguments, line.heights(rows)), Planting({}, {}), line, None


def _plan(arguments: Namespace, heights: list[list[int]]) -> Plan:
    cameras = name_cameras(arguments.cameras, arguments.sides.split(","), heights)
    empty = next((camera for camera in cameras if not camera.heights), None)
    if empty:
        raise PlanError(f"--length-m: received {arguments.length_m:g}; {empty.camera_id} would not take a single frame")
    if sum(len(camera.heights) for camera in cameras) > MOST_FRAMES:
        raise PlanError(f"--length-m: the coil would take more than {MOST_FRAMES:,} frames; play a shorter one")
    stops = tuple(Stop.read(text) for text in arguments.stop)
    known = {camera.camera_id for camera in cameras}
    for stop in stops:
        if stop.camera_id not in known:
            raise PlanError(f"--stop: received camera {stop.camera_id!r}; the cameras are {', '.join(sorted(known))}")
    plan = Plan(cameras, arguments.mm_per_pixel, arguments.speed_m_s * 1000, stops)
    return replace(plan, loss=choose_loss(plan, arguments.lose, arguments.seed)) if arguments.lose else plan


def _place(text: str | None, plan: Plan) -> tuple[str, float | None]:
    """Camera and mm from its first column."""
    if text is None:
        return plan.cameras[0].camera_id, None
    camera_id, _, across = text.partition(":")
    try:
        return camera_id, float(across)
    except ValueError:
        raise PlanError(f"--period-at: received {text!r}; expected CAMERA:ACROSS_MM, such as top-1:120") from None
