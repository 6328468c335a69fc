"""What a record is asked for: every route, each filter alone and with others, of many inspections and of few or none.

Coils, times, limits and ids are drawn at random for each request, of those that there are.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

from sqlalchemy import func, select

from app.store.database import Database
from app.store.numbers import inspection_id
from app.store.schema import coils, events, inspections
from benchmarks.plant import CAMERAS, CLASSES, DAYS, LARGEST, MARK, STUTTERING, WORST

FIRST_LOOK, ONCE_MORE = "A coil at the first look", "The same once more"
# Inspections among which one is drawn.
IDS = 400

Ask = Callable[[random.Random], str]


@dataclass
class Question:
    """ask: the path of the next request. paged: its `next` is followed, until there is none.

    anew: it is of a coil, and asked for as if nobody had looked at the coil before; then once more.
    """

    room: str
    name: str
    ask: Ask
    paged: bool = False
    anew: bool = False
    _first: str = ""
    _following: str | None = None

    def path(self, rng: random.Random) -> str:
        """Of the next request."""
        if self._following is not None:
            return f"{self._first}&cursor={quote(self._following)}"
        self._first = self.ask(rng)
        return self._first

    def answered(self, body: bytes) -> None:
        """Where the next page begins."""
        if self.paged:
            self._following = json.loads(body)["next"]


@dataclass(frozen=True)
class Known:
    """What there is to ask for: coils by name, ids of inspections (all, with events, with a picture), the times."""

    coils: tuple[str, ...]
    some: tuple[str, ...]
    called: tuple[str, ...]
    pictured: tuple[str, ...]
    until: datetime

    def moment(self, rng: random.Random, least_days: float = 0.0) -> datetime:
        """Some time ago."""
        return self.until - timedelta(days=rng.uniform(least_days, DAYS))


def known(database: Database, archive: Path) -> Known:
    """From the database itself."""
    rng = random.Random(1)
    on_disk = [path.stem for path in archive.glob("*/*.jpeg")]
    number, received_at = inspections.c.number, inspections.c.received_at
    with database.reading() as connection:
        ends = select(func.min(number), func.max(number), func.max(received_at))
        lowest, highest, until = connection.execute(ends).one()
        below = select(func.max(number))
        some = [connection.scalar(below.where(number <= rng.randrange(lowest, highest))) for _ in range(IDS)]
        called = list(connection.scalars(select(events.c.inspection).distinct()))
        pictured = connection.scalars(select(number).where(inspections.c.image.in_(on_disk))).all()
        names = connection.scalars(select(coils.c.coil_id).order_by(coils.c.number)).all()
    ids = some, rng.sample(called, min(IDS, len(called))), pictured
    return Known(tuple(names), *(tuple(map(inspection_id, each)) for each in ids), until)


def questions(have: Known) -> list[Question]:
    """Everything that is asked, in the order of the table."""
    return [*_line(), *_of_coils(have), *_lists(have), *_of_one(have), *_of_reviews()]


def _line() -> Iterator[Question]:
    yield Question("Line", "`/v1/cameras`", lambda _: "/v1/cameras")
    yield Question("Line", "`/v1/record`", lambda _: "/v1/record")


def _of_coils(have: Known) -> Iterator[Question]:
    def any_coil(rng: random.Random) -> str:
        return f"/v1/coils/{rng.choice(have.coils)}"

    yield Question("Coils", "`/v1/coils`", lambda _: "/v1/coils?limit=50")
    yield Question("Coils", "`/v1/coils?state=open`", lambda _: "/v1/coils?state=open")
    yield Question("Coils", "`/v1/coils`, page by page", lambda _: "/v1/coils?limit=10", paged=True)
    yield Question("Coils", "`/events`, page by page", lambda rng: any_coil(rng) + "/events?limit=100", paged=True)
    worst = f"/v1/coils/{WORST}/events?limit=500"
    yield Question("Coils", f"`/events`, {WORST}, page by page", lambda _: worst, paged=True)
    for room, anew in ((FIRST_LOOK, True), (ONCE_MORE, False)):
        for what in ("", "/map", "/map?format=svg", "/map?format=png", "/report"):
            shown = f"`{what}`" if what else "its figures"
            yield Question(room, f"{shown}, any coil", lambda rng, what=what: any_coil(rng) + what, anew=anew)
            for name in (LARGEST, WORST, STUTTERING):
                path = f"/v1/coils/{name}{what}"
                yield Question(room, f"{shown}, {name}", lambda _, path=path: path, anew=anew)


class _Filters:
    """Values of each filter, at random: of those that many inspections fulfil and of those that few or none do."""

    def __init__(self, have: Known) -> None:
        self._have = have
        self._of: dict[str, Ask] = {
            "coil_id": lambda rng: rng.choice(have.coils),
            "camera_id": lambda rng: rng.choice(CAMERAS)[0],
            "verdict": lambda rng: rng.choice(("ok", "review", "defect")),
            "defect_class": lambda rng: rng.choice((*CLASSES, MARK)),
            "from": lambda rng: _written(have.moment(rng)),
            "to": lambda rng: _written(have.moment(rng)),
            "least_probability": lambda rng: str(round(rng.choice((rng.random(), 1 - rng.random() ** 4)), 6)),
            "most_probability": lambda rng: str(round(rng.choice((rng.random(), rng.random() ** 4)), 6)),
            "reviewed": lambda rng: rng.choice(("true", "false")),
        }

    def some(self, count: int) -> Ask:
        """So many filters, any of them; those that no inspection can fulfil are left out."""

        def ask(rng: random.Random) -> str:
            while True:
                chosen = {name: self._of[name](rng) for name in rng.sample(list(self._of), count)}
                if chosen.get("from", "") < chosen.get("to", "~") and float(
                    chosen.get("least_probability", 0)
                ) <= float(chosen.get("most_probability", 1)):
                    return _list(**chosen)

        return ask

    def these(self, *names: str, **fixed: str) -> Ask:
        """These filters at random, and others as they are."""
        return lambda rng: _list(**{name: self._of[name](rng) for name in names}, **fixed)

    def span(self, days: float, *names: str, **fixed: str) -> Ask:
        """As `these`, within so many days that begin at random."""

        def ask(rng: random.Random) -> str:
            since = self._have.moment(rng, days)
            times = {"from": _written(since), "to": _written(since + timedelta(days=days))}
            return _list(**times, **{name: self._of[name](rng) for name in names}, **fixed)

        return ask

    def band(self, width: float) -> Ask:
        """A band of probabilities."""

        def ask(rng: random.Random) -> str:
            least = round(rng.uniform(0, 1 - width), 9)
            return _list(least_probability=str(least), most_probability=str(round(least + width, 9)))

        return ask


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _list(**filters: str) -> str:
    return "/v1/inspections?" + urlencode({"limit": 50} | filters)


def _lists(have: Known) -> Iterator[Question]:
    filters = _Filters(have)
    these, span = filters.these, filters.span
    asked: dict[str, Ask] = {
        "no filter": these(),
        "no filter, 500 rows": these(limit="500"),
        "a coil": these("coil_id"),
        "no such coil": these(coil_id="K0"),
        "a camera": these("camera_id"),
        "no such camera": these(camera_id="top-9"),
        "`ok`": these(verdict="ok"),
        "`review`": these(verdict="review"),
        "`defect`": these(verdict="defect"),
        "a common class": these(defect_class=CLASSES[0]),
        "a rare class": these(defect_class=CLASSES[-1]),
        "no such class": these(defect_class="dent"),
        "from a time on": these("from"),
        "until a time": these("to"),
        "a minute": span(1 / 1440),
        "a day": span(1),
        "probability of at least p": these("least_probability"),
        "probability of at least 0.9999": these(least_probability="0.9999"),
        "probability of at most p": these("most_probability"),
        "a band of 0.1": filters.band(0.1),
        "a band of 0.000001": filters.band(1e-6),
        "reviewed": these(reviewed="true"),
        "not reviewed": these(reviewed="false"),
        "a coil, a camera": these("coil_id", "camera_id"),
        "a coil, a verdict": these("coil_id", "verdict"),
        "a coil, a class": these("coil_id", "defect_class"),
        "a coil, reviewed": these("coil_id", reviewed="true"),
        "a coil, at least p": these("coil_id", "least_probability"),
        "a coil, another time": these("coil_id", "to"),
        "a coil, a camera, `defect`": these("coil_id", "camera_id", verdict="defect"),
        "a camera, `defect`": these("camera_id", verdict="defect"),
        "a camera, a rare class": these("camera_id", defect_class=CLASSES[-1]),
        "a camera, a day": span(1, "camera_id"),
        "a camera, at least 0.9999": these("camera_id", least_probability="0.9999"),
        "a camera, a band of `ok`": these("camera_id", "most_probability", verdict="ok"),
        "`ok`, at least p": these("least_probability", verdict="ok"),
        "`ok`, a class": these("defect_class", verdict="ok"),
        "`ok`, reviewed": these(verdict="ok", reviewed="true"),
        "`ok`, an hour": span(1 / 24, verdict="ok"),
        "`defect`, a day": span(1, verdict="defect"),
        "`defect`, not reviewed": these(verdict="defect", reviewed="false"),
        "`review`, at most p": these("most_probability", verdict="review"),
        "a class, reviewed": these("defect_class", reviewed="true"),
        "a day, at least p": span(1, "least_probability"),
        "a day, not reviewed": span(1, reviewed="false"),
        "all filters, one camera's `defect` of a coil": span(
            3, "coil_id", "camera_id", "defect_class", "least_probability", verdict="defect", reviewed="false"
        ),
    }
    for name, ask in asked.items():
        yield Question("Inspections", name, ask)
    for count in (2, 3, 4):
        # Several a round, for there are many.
        yield from (Question("Inspections", f"any {count} filters", filters.some(count)) for _ in range(6))
    page_by_page = (
        "no filter", "a coil", "a camera", "`ok`", "`review`", "`defect`", "a common class", "until a time",
        "probability of at least p", "probability of at most p", "a band of 0.1", "reviewed", "not reviewed",
        "a coil, a verdict", "a camera, `defect`", "a camera, a band of `ok`", "`ok`, at least p", "a day, at least p",
    )  # fmt: skip
    for name in page_by_page:
        yield Question("Inspections, page by page", name, asked[name], paged=True)
    yield Question("Inspections, page by page", "any 2 filters", filters.some(2), paged=True)


def _of_one(have: Known) -> Iterator[Question]:
    yield Question("One inspection", "any", lambda rng: f"/v1/inspections/{rng.choice(have.some)}")
    yield Question("One inspection", "with events", lambda rng: f"/v1/inspections/{rng.choice(have.called)}")
    yield Question("One inspection", "`/image`", lambda rng: f"/v1/inspections/{rng.choice(have.pictured)}/image")
    yield Question(
        "One inspection", "`/heatmap.png`", lambda rng: f"/v1/inspections/{rng.choice(have.pictured)}/heatmap.png"
    )


def _of_reviews() -> Iterator[Question]:
    for name in ("queue", "queue?limit=1", "queue?limit=200", "rates", "classes"):
        yield Question("Reviews", f"`/v1/reviews/{name}`", lambda _, path=f"/v1/reviews/{name}": path)
