"""The parts of a coil's page that are words and tables: acceptance, coverage, periodic findings."""

from collections.abc import Callable
from functools import partial

from nicegui.element import Element

from app.dashboard.client import Json
from app.dashboard.shell import Moment, facts, panel, table, text, verdict
from app.dashboard.words import UNKNOWN, counted, metres, millimetres, percent, spelled

# What a camera's line of the coverage table counts.
COUNTED = ("Frames", "From", "To", "Inspected", "Not inspected", "Lost", "Gaps", "Twice", "Out of order", "Unnumbered")


def acceptance(known: Json) -> None:
    """Whether the coil may go, and the rule that decided."""
    found = known["acceptance"]
    with panel("Acceptance", f"acceptance accepts-{found['verdict']}"):
        verdict(found["verdict"]).classes("verdict-large")
        decided_by = found["decided_by"]
        text("No rule is broken." if decided_by is None else f"Decided by: {rule_words(decided_by)}", "decided", "p")
        if found["rules"]:
            table(
                ("Rule", "Allowed", "Found", "Verdict"),
                [
                    (each["rule"], _figure(each, "allowed"), _figure(each, "found"), partial(_verdict, each["verdict"]))
                    for each in found["rules"]
                ],
                numbers=("Allowed", "Found"),
            )
        if found["defaults"]:
            text(f"By the house's rules, not by the plant file: {', '.join(found['defaults'])}.", "muted", "p")


def rule_words(rule: Json) -> str:
    """A rule with what there was, and where.

    >>> rule = {"rule": "scratch: hold above 2 per 100 m", "allowed": 2, "found": 3, "from_mm": 4e4, "to_mm": 14e4}
    >>> rule_words(rule)
    'scratch: hold above 2 per 100 m. Found 3 where 2 are allowed, between 40.0 m and 140.0 m.'
    """
    where = "" if rule["from_mm"] is None else f", between {metres(rule['from_mm'])} and {metres(rule['to_mm'])}"
    return f"{rule['rule']}. Found {_figure(rule, 'found')} where {_figure(rule, 'allowed')} are allowed{where}."


def _figure(rule: Json, name: str) -> str:
    """Events, or of the rules on what was not inspected a share of the strip."""
    value = rule[name]
    if value is None:
        return UNKNOWN
    return f"{100 * value:.3g} %" if rule["rule"].startswith("not inspected") else f"{value:,.4g}"


def _verdict(word: str | None) -> None:
    if word is None:
        text("✓ met", "muted")
    else:
        verdict(word)


def coverage_summary(known: Json) -> None:
    """How much of the strip was seen."""
    missing = sum(camera["lost"] for camera in known["cameras"])
    gaps = sum(camera["gap_count"] for camera in known["cameras"])
    with panel("Inspected"):
        facts(
            (
                ("Inspected", metres(known["inspected_mm"])),
                ("Not inspected", metres(known["uninspected_mm"])),
                ("Before and after", metres(known["unseen_mm"])),
                ("Announced length", metres(known["length_mm"])),
                ("Announced width", millimetres(known["width_mm"])),
                ("Cameras", f"{len(known['cameras'])}"),
                ("Gaps", f"{counted(gaps, 'gap')}, {counted(missing, 'frame')} missing" if gaps else "none"),
                ("Defects by class", listed(known["events_by_class"])),
                ("By side", listed(known["events_by_side"])),
                ("By severity", listed(known["events_by_severity"])),
                ("Called good", f"{known['false_calls']:,} of these and other events, by people"),
            )
        )
        if known["inspected_mm"] is None:
            text("Metres are not guessed: they are known where frames say position_mm and mm_per_pixel.", "muted", "p")


def listed(counts: dict[str, int]) -> str:
    """Counts by name, the largest first, without those of which there is none.

    >>> listed({"pit": 1, "scratch": 12, "dent": 0}), listed({})
    ('12 scratch, 1 pit', 'none')
    """
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered if count) or "none"


def coverage(known: Json) -> None:
    """A line for each camera, and below each of its gaps with the reason."""
    with panel("Coverage by camera"):
        if not known["cameras"]:
            text("No frame of this coil has come.", "muted", "p")
            return
        table(
            ("Camera", "Side", *COUNTED),
            [
                (
                    each["camera_id"] or UNKNOWN,
                    each["side"] or UNKNOWN,
                    f"{each['frames']:,}",
                    metres(each["first_mm"]),
                    metres(each["last_mm"]),
                    metres(each["inspected_mm"]),
                    metres(each["uninspected_mm"]),
                    f"{each['lost']:,}",
                    f"{each['gap_count']:,}",
                    f"{each['duplicates']:,}",
                    f"{each['out_of_order']:,}",
                    f"{each['unnumbered']:,}",
                )
                for each in known["cameras"]
            ],
            numbers=COUNTED,
        )
        gaps = [(camera, gap) for camera in known["cameras"] for gap in camera["gaps"]]
        text("Gaps", "panel-title", "h3")
        if not gaps:
            text("No gap: every frame that the cameras counted is here.", tag="p")
            return
        table(
            ("Camera", "Side", "From", "To", "Frames missing", "When", "Reason"),
            [
                (
                    camera["camera_id"] or UNKNOWN,
                    camera["side"] or UNKNOWN,
                    metres(gap["from_mm"], 2),
                    metres(gap["to_mm"], 2),
                    f"{gap['frames']:,}",
                    _when(gap),
                    reasons(gap),
                )
                for camera, gap in gaps
            ],
            numbers=("From", "To", "Frames missing"),
        )


def _when(gap: Json) -> Callable[[], None]:
    def show() -> None:
        with Element("span").classes("tight"):
            Moment(gap["started_at"], "time")
            text(" to ")
            Moment(gap["ended_at"], "time")

    return show


def reasons(gap: Json) -> str:
    """Why frames are missing, as far as it is on record.

    >>> reasons({"frames": 5, "reasons": [{"code": "overloaded", "frames": 3}]})
    'overloaded (3 frames); of 2 frames unknown'
    >>> reasons({"frames": 3, "reasons": []})
    'unknown: never received'
    >>> reasons({"frames": 0, "reasons": []})
    'the camera took no frame there'
    """
    if not gap["frames"]:
        return "the camera took no frame there"
    known = sum(each["frames"] for each in gap["reasons"])
    if not known:
        return "unknown: never received"
    said = ", ".join(f"{spelled(each['code'])} ({counted(each['frames'], 'frame')})" for each in gap["reasons"])
    return said if known >= gap["frames"] else f"{said}; of {counted(gap['frames'] - known, 'frame')} unknown"


def periodic(known: Json) -> None:
    """What repeats at a fixed interval, and the rolls whose circumference that is."""
    with panel("Periodic findings"):
        if not known["periodic"]:
            text("Nothing repeats at a fixed interval within one lane.", tag="p")
        with Element("div").classes("periodics"):
            for each in known["periodic"]:
                _repeat(each)


def _repeat(each: Json) -> None:
    with Element("div").classes("periodic"):
        text(f"Every {each['interval_mm']:,.0f} mm", "periodic-interval", "h3")
        text(suspects(each["rolls"]), "decided" if each["rolls"] else "", "p")
        facts(
            (
                ("Repeats", f"{each['repeats']}"),
                ("Confidence", confidence(each["confidence"])),
                ("Where", f"{each['side'] or 'side ' + UNKNOWN}, {each['camera_id'] or 'camera ' + UNKNOWN}"),
                ("Across", millimetres(each["across_mm"])),
                ("Along", f"{metres(each['first_mm'], 2)} to {metres(each['last_mm'], 2)}"),
            )
        )


def confidence(value: float) -> str:
    """Never a certainty.

    >>> confidence(0.9951), confidence(1.0)
    ('99.51 %', 'above 99.99 %')
    """
    return "above 99.99 %" if value > 0.9999 else percent(value, 2)


def suspects(rolls: list[Json]) -> str:
    """The rolls that come into question, the nearest first.

    >>> suspects([{"name": "work roll 3", "diameter_mm": 600.0, "difference_mm": 0.4}])
    'Suspect: work roll 3 (diameter 600 mm, circumference off by 0.4 mm)'
    >>> suspects([])
    'No roll of the plant file has this circumference.'
    """
    if not rolls:
        return "No roll of the plant file has this circumference."
    named = "; ".join(
        f"{each['name']} (diameter {each['diameter_mm']:g} mm, "
        f"circumference off by {abs(each['difference_mm']):.1f} mm)"
        for each in rolls
    )
    return f"Suspect: {named}"
