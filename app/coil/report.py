"""The report of a coil: one page to print, sign and hand on. It stands alone, and loads nothing."""

from datetime import UTC, datetime
from math import pi
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.coil.examination import Examination
from app.coil.map_svg import svg
from app.coil.replies import CoilEventReply, RuleReply, detail
from app.coil.scene import scene
from app.coil.strip_map import strip_map, why

# More fill pages that nobody reads; the API has them all.
GAPS_SHOWN = 60
UNKNOWN = "not known"


def metres(length_mm: float | None) -> str:
    """A length for people.

    >>> metres(1234567.0), metres(1234.5), metres(None)
    ('1,234.6 m', '1.234 m', 'not known')
    """
    if length_mm is None:
        return UNKNOWN
    length_m = length_mm / 1000
    return f"{length_m:,.1f} m" if abs(length_m) >= 100 else f"{length_m:.3f} m"


def moment(at: datetime) -> str:
    """A time for people.

    >>> moment(datetime(2026, 1, 31, 8, 30, tzinfo=UTC))
    '2026-01-31 08:30:00 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def confidence(value: float) -> str:
    """Never a certainty.

    >>> confidence(0.9951), confidence(1.0)
    ('99.51 %', 'above 99.99 %')
    """
    return "above 99.99 %" if value > 0.9999 else f"{100 * value:.2f} %"


def found(rule: RuleReply) -> str:
    """What a rule counted: events, cameras, or a share of the strip."""
    return UNKNOWN if rule.found is None else _counted(rule, rule.found)


def allowed(rule: RuleReply) -> str:
    """The limit, in the same words."""
    return _counted(rule, rule.allowed)


def _counted(rule: RuleReply, value: float) -> str:
    return f"{100 * value:.3g} %" if rule.rule.startswith("not inspected") else f"{value:,.0f}"


def size(event: CoilEventReply) -> str:
    """Along and across, in mm."""
    if event.length_mm is None or event.width_mm is None:
        return UNKNOWN
    return f"{event.length_mm:,.0f} x {event.width_mm:,.0f} mm"


_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters |= {name.__name__: name for name in (metres, moment, confidence, found, allowed, size)}


def report(examination: Examination, generated_at: datetime) -> str:
    """The page, as HTML."""
    cameras = examination.coverage.cameras
    gaps = [(camera, gap, why(gap)) for camera in cameras for gap in camera.gaps]
    longest = sorted(gaps, key=lambda each: (-each[1].length_mm, -each[1].frames))[:GAPS_SHOWN]
    shown = [each for each in gaps if each in longest] if len(gaps) > GAPS_SHOWN else gaps
    return _pages.get_template("report.html").render(
        coil=examination.evidence.coil,
        told=detail(examination),
        # Escaped where it was made.
        map=Markup(svg(scene(strip_map(examination)))),  # noqa: S704
        gaps=shown,
        gap_count=sum(camera.gap_count for camera in cameras),
        generated_at=generated_at,
        pi=pi,
    )
