"""A coil's evidence, made up, for tests of what follows from it."""

from datetime import UTC, datetime, timedelta

from app.coil.counting import Stretch, View
from app.coil.events import Events
from app.coil.examination import CoilRow, Evidence, Tally

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
END = START + timedelta(minutes=10)


def coil(coil_id="C1", **fields):
    """Opened and closed."""
    told = {
        "number": 1, "coil_id": coil_id, "opened_at": START, "opened_by": "frame", "last_frame_at": END,
        "closed_at": END, "closed_by": "api", "length_mm": None, "width_mm": None,
    }  # fmt: skip
    return CoilRow(**(told | fields))


def seen(length_mm, frames=100):
    """One camera's frames, without a gap."""
    return [Stretch(frames, 0, frames - 1, 0.0, length_mm, START, END)]


def evidence(events=None, stretches=None, refused=(), tallies=None, corrections=None, **fields):
    """A coil of 200 m that one camera has seen whole. stretches: by camera of the top side, or by view."""
    stretches = {"c1": seen(200_000.0)} if stretches is None else stretches
    stretches = {each if isinstance(each, View) else View(each, "top"): part for each, part in stretches.items()}
    if tallies is None:
        tallies = [
            Tally(*view, "ok", "m1", None, sum(each.frames for each in part), 1000.0)
            for view, part in stretches.items()
        ]
    found = Events.of([]) if events is None else events
    return Evidence(coil(**fields), tuple(tallies), stretches, tuple(refused), found, corrections or {})
