"""What a fault is, and how one is played: a line under load, the fault, and what must be true during and after it."""

import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from app.store.database import open_database, sqlite_url
from tests.app import databases, postgresql
from tests.faults.checking import check
from tests.faults.line import Line, Told
from tests.faults.machine import Machine
from tests.faults.network import far_away
from tests.faults.server import Server

# Before the fault, and after it.
VERDICTS = 40
# What a camera may be told by a server that starts; and while the connection to one breaks.
STARTING = frozenset({"model_loading"})
BROKEN = frozenset({"ConnectError", "ReadError", "RemoteProtocolError", "WriteError", "ConnectTimeout"})
# From the start of a server to its first model, on two cores that do nothing else.
START_S = 3.0
# A verdict that comes later than this after its frame is none: the piece of strip is gone.
DEADLINE_S, LATE_S = 10.0, 7.0


@dataclass
class Stage:
    """Where a fault is played. folder: for whatever it needs; home, archive: the data root and the images."""

    folder: Path
    home: Path
    archive: Path
    models: Path
    server: Server
    line: Line
    chance: random.Random
    machine: Machine | None
    database_server: postgresql.Server | None = None
    longest_s: float = float("inf")
    # `time.monotonic()` from which on it must recover; the end of the fault unless it says otherwise.
    over: float | None = None

    @property
    def own_machine(self) -> Machine:
        """Of a fault that asked for one."""
        assert self.machine is not None
        return self.machine

    def mended(self) -> None:
        """From here on the server must recover."""
        self.over = time.monotonic()

    def meanwhile(self, seconds: float, work: Callable[[], bool] = lambda: False) -> None:
        """Let the line run, and do some work again and again; with a pause where it says that it did nothing."""
        until = time.monotonic() + min(seconds, self.longest_s)
        while (left := until - time.monotonic()) > 0:
            if not work():
                time.sleep(min(left, 0.01))


Injected = Callable[[Stage], AbstractContextManager[None]]
Place = Callable[[Path], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One way in which a plant breaks.

    injected: makes the fault, and mends it at the end as an operator or a supervisor would.
    within_s: from its end to the first verdict of a frame sent after it.
    codes: what cameras may be told from its beginning to their next verdict; said: of these, what they must be told.
    serves: verdicts go on while it lasts. postgresql: behind a network of its own if that is far away.
    lacking: why an image may be missing afterwards. on_home, on_archive: file systems of their own for these folders.
    """

    name: str
    injected: Injected
    within_s: float
    codes: frozenset[str] = frozenset()
    said: frozenset[str] = frozenset()
    serves: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()
    on_home: Place | None = None
    on_archive: Place | None = None
    machine: bool = False
    postgresql: Literal["", "here", "far away"] = ""
    late_s: float = DEADLINE_S + LATE_S


@dataclass(frozen=True)
class Outcome:
    """What was seen. told: how often cameras were told what from the fault's beginning to their recovery."""

    recovered_s: float
    lasted_s: float
    verdicts: int
    told: Counter[str]


def play(fault: Fault, models: Path, seed: int = 0, longest_s: float = float("inf")) -> Outcome:
    """Play it once. Raises AssertionError for whatever is not as it must be.

    longest_s: no part of it lasts longer.
    """
    with tempfile.TemporaryDirectory(prefix="steelsight-fault-") as named, ExitStack() as held:
        stage = _set(fault, Path(named), models, seed, held)
        stage.longest_s = longest_s
        held.callback(stage.server.stop)
        began = time.monotonic()
        stage.server.start()
        stage.server.until_ready()
        slower = max(1.0, (time.monotonic() - began) / START_S)
        stage.line.url = stage.server.url
        with stage.line.running():
            stage.line.until_verdicts(VERDICTS)
            began = time.monotonic()
            with fault.injected(stage):
                pass
            ended = stage.over or time.monotonic()
            recovered_s = stage.line.until_verdicts(1, after=ended) - ended
            stage.line.until_verdicts(VERDICTS, after=ended)
        assert stage.server.kill(signal.SIGTERM) == 0, "the server did not end as it should"
        outcome = _judged(fault, stage.line, began, ended, recovered_s, slower)
        _checked(fault, stage)
    return outcome


def _set(fault: Fault, folder: Path, models: Path, seed: int, held: ExitStack) -> Stage:
    home = folder / "home"
    # A disk that is full, or fails, is that of the record or that of its images.
    archive = (folder if fault.on_home else home) / "archive"
    for path, place in ((home, fault.on_home), (archive, fault.on_archive)):
        path.mkdir()
        if place is not None:
            held.enter_context(place(path))
    models = shutil.copytree(models, home / "models")
    settings = {"sample_ok": "1", **fault.settings} | ({"archive": str(archive)} if fault.on_home else {})
    machine = Machine(folder) if fault.machine else None
    running = None
    if fault.postgresql:
        running = held.enter_context(postgresql.server("-c max_connections=60"))
        far = fault.postgresql == "far away"
        settings["database_url"] = held.enter_context(far_away(running.home)) if far else running.url()
    environment = machine.environment if machine else {}
    server = Server(home, models, folder / "server.log", settings, environment)
    line = Line("", seed=seed)
    return Stage(folder, home, archive, models, server, line, random.Random(seed), machine, running)


def _judged(fault: Fault, line: Line, began: float, ended: float, recovered_s: float, slower: float) -> Outcome:
    """slower: than a machine that has nothing else to do, by how long a start took on it."""
    within_s = fault.within_s * slower
    last = max((each.at for each in _not_verdicts(line.told) if each.sent < ended), default=ended)
    during = [each for each in line.told if each.at >= began and each.sent <= max(ended + recovered_s, last)]
    told = Counter(each.code for each in during if each.code is not None)
    unexpected = {code: count for code, count in told.items() if code not in fault.codes}
    examples = [each.said.get("detail", "") for each in during if each.code in unexpected][:3]
    assert not unexpected, f"cameras were told {unexpected}: {examples}"
    assert set(fault.said) <= set(told), f"cameras were not told {set(fault.said) - set(told)}, but {dict(told)}"
    before = Counter(each.code for each in _not_verdicts(line.told) if each.at < began)
    after = Counter(each.code for each in _not_verdicts(line.told) if each.sent > ended + within_s)
    assert not before and not after, f"told before the fault: {dict(before)}; after it: {dict(after)}"
    late = [each for each in line.answers.values() if each.at - each.sent > fault.late_s * slower]
    assert not late, f"{len(late)} verdicts came up to {max(each.at - each.sent for each in late):.1f} s late"
    assert recovered_s <= within_s, f"the first verdict came {recovered_s:.1f} s after the fault's end"
    verdicts = sum(each.code is None and each.at <= ended for each in during)
    if fault.serves:
        came = sorted(each.at for each in line.answers.values() if began < each.at < ended)
        gap = max(later - earlier for earlier, later in pairwise([began, *came, ended]))
        assert gap < SILENT_S * slower, f"no verdict for {gap:.1f} s while it lasted"
    return Outcome(recovered_s, ended - began, verdicts, told)


# Of a line that goes on, as far as a busy machine lets one say so.
SILENT_S = 3.0


def _not_verdicts(told: list[Told]) -> Iterator[Told]:
    return (each for each in told if each.code is not None)


def _checked(fault: Fault, stage: Stage) -> None:
    with closing_database(stage) as database:
        check(stage.line, database, stage.archive, stage.models, fault.lacking)
    log = stage.server.log.read_text(errors="replace") if stage.server.log.exists() else ""
    assert "internal_error" not in log, "an internal error is in the log"


@contextmanager
def closing_database(stage: Stage) -> Iterator[databases.Database]:
    """The record's database, opened for a look."""
    url = stage.database_server.url() if stage.database_server else sqlite_url(stage.home / "record.db")
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()
