"""What the page *Models* says: figures with their intervals, and what a change will do before anybody makes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Figure = Mapping[str, Any]
Version = dict[str, Any]


@dataclass(frozen=True)
class Meaning:
    """A figure of the manifest as the page names it. better_high: whether more is better."""

    key: str
    name: str
    says: str
    better_high: bool
    share: bool = True


# The three that an operator compares by; every other the manifest has stands in a version's details.
CHIEF = (
    Meaning("auroc", "AUROC", "how well it tells defects from good surface; 0.5 is chance, 1 is perfect", True, False),
    Meaning("escape_rate", "Escapes", "share of defect tiles passed as ok, at its own review threshold", False),
    Meaning("overkill_rate", "False calls", "share of good tiles called review or defect", False),
)
FURTHER = (
    Meaning("average_precision", "Average precision", "area under the precision-recall curve", True, False),
    Meaning("recall_at_5pct_false_calls", "Found at 5 % false calls", "share of defect tiles found when 5 % of "
            "the good tiles are called", True),
    Meaning("recall_at_1pct_false_calls", "Found at 1 % false calls", "the same at 1 %", True),
    Meaning("escape_rate_at_defect", "Escapes without review", "share of defect tiles below the defect threshold: "
            "escapes if nobody looks at review", False),
    Meaning("overkill_rate_at_defect", "False defects", "share of good tiles called defect", False),
    Meaning("groups_with_escape", "Surfaces with an escape", "share of the defective surfaces on which at least one "
            "defect tile escaped", False),
    Meaning("groups_with_overkill", "Surfaces with a false call", "share of the good surfaces on which at least one "
            "tile was called", False),
    Meaning("expected_calibration_error", "Calibration error", "how far its probabilities lie from the shares of "
            "defects found", False, False),
    Meaning("cost_per_tile", "Cost of a tile", "mean of it, for the costs and the share of defects that chose the "
            "thresholds", False, False),
    Meaning("class_accuracy", "Right class", "share of tiles whose most probable class is the right one", True),
    Meaning("balanced_class_accuracy", "Right class, balanced", "the same, every class counting alike", True),
    Meaning("defect_class_accuracy", "Right defect class", "share of defect tiles named rightly", True),
)  # fmt: skip
KNOWN = {meaning.key: meaning for meaning in (*CHIEF, *FURTHER)}

NO_PROMISE = (
    "This version's manifest says nothing of how its thresholds were chosen; nothing is promised about escapes."
)


@dataclass(frozen=True)
class Plan:
    """A change, told before it is made. title: a question. sentences: what will happen. do: the button's words."""

    title: str
    sentences: tuple[str, ...]
    do: str


def meaning_of(key: str) -> Meaning:
    """What a figure is; one that only a later release measures is shown under its own key.

    >>> meaning_of("auroc").name, meaning_of("new_figure").name
    ('AUROC', 'New figure')
    """
    return KNOWN.get(key) or Meaning(key, key.replace("_", " ").capitalize(), "", True, share=False)


def figure(value: float, share: bool = True) -> str:
    """A share in per cent, any other figure plain; three digits tell what two would blur.

    >>> figure(0.1339), figure(0.0084), figure(0.956787, share=False), figure(0), figure(0.000421, share=False)
    ('13.4 %', '0.84 %', '0.957', '0.00 %', '0.000421')
    """
    if not share:
        return f"{value:.3g}" if 0 < value < 0.1 else f"{value:.3f}"
    percent = 100 * value
    return f"{percent:.1f} %" if percent >= 10 else f"{percent:.2f} %"


def interval(of: Figure, share: bool = True) -> str:
    """The 95 % interval, or that there is none.

    >>> interval({"value": 0.1, "low": 0.05, "high": 0.2}), interval({"value": 0.1, "low": None, "high": None})
    ('5.00 % to 20.0 %', 'no interval: too few surfaces')
    """
    if of.get("low") is None or of.get("high") is None:
        return "no interval: too few surfaces"
    return f"{figure(of['low'], share)} to {figure(of['high'], share)}"


def newest_first(versions: Iterable[Version]) -> list[Version]:
    """By the time they were published; damaged ones, which do not tell it, last and by name.

    >>> told = [{"version": "a", "created_at": None}, {"version": "b", "created_at": "2026-01-02T00:00:00Z"}]
    >>> [each["version"] for each in newest_first([*told, {"version": "c", "created_at": "2026-01-03T00:00:00Z"}])]
    ['c', 'b', 'a']
    """
    by_name = sorted(versions, key=lambda version: str(version["version"]))
    dated = [each for each in by_name if each.get("created_at")]
    return [
        *sorted(dated, key=lambda version: _moment(version["created_at"]), reverse=True),
        *(each for each in by_name if not each.get("created_at")),
    ]


def certificate(manifest: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether an escape rate is certified, and the sentence that the manifest has about its thresholds.

    >>> certificate({"training": {"thresholds": {"certified": True, "sentence": "Certified: at most 1 %."}}})
    (True, 'Certified: at most 1 %.')
    >>> certificate({"training": {}}) == (False, NO_PROMISE)
    True
    """
    thresholds = manifest.get("training", {}).get("thresholds")
    if not isinstance(thresholds, Mapping) or not thresholds.get("sentence"):
        return False, NO_PROMISE
    return thresholds.get("certified") is True, str(thresholds["sentence"])


def activation(version: str, active: str | None) -> Plan:
    """Of `POST /v1/models/{version}/activate`.

    >>> activation("b", "a").sentences[0]
    'From then on b judges every frame, in place of a, which does so now.'
    """
    place = f"in place of {active}, which does so now" if active else "and the line can be inspected"
    kept = (f"{active} is kept: rolling back brings it in again.",) if active else ()
    return Plan(
        f"Activate {version}?",
        (
            f"From then on {version} judges every frame, {place}.",
            "The server loads and checks it first. If it cannot serve, nothing changes, and the reason is shown here.",
            "No frame is lost: one that has begun ends with the version it began with.",
            *kept,
        ),
        f"Activate {version}",
    )


def rolling_back(active: str, previous: str) -> Plan:
    """Of `POST /v1/models/rollback`.

    >>> rolling_back("b", "a").title
    'Roll back from b to a?'
    """
    return Plan(
        f"Roll back from {active} to {previous}?",
        (
            f"From then on {previous} judges every frame again, in place of {active}, which does so now.",
            "The server loads and checks it first. If it cannot serve, nothing changes, and the reason is shown here.",
            f"{active} stays in the list and can be activated again.",
        ),
        f"Roll back to {previous}",
    )


def shadowing(version: str, active: str | None, running: str | None) -> Plan:
    """Of `POST /v1/models/{version}/shadow`. running: the version that shadows now.

    >>> shadowing("b", "a", None).sentences[1]
    'Every verdict that the line gets still comes from a.'
    """
    instead = (f"It takes the place of {running}, which shadows now.",) if running not in (None, version) else ()
    again = running == version
    return Plan(
        f"Change the share of {version}?" if again else f"Let {version} shadow {active or 'the active version'}?",
        (
            f"{version} scores a share of the live frames too, drawn at random, where the server has time to spare.",
            f"Every verdict that the line gets still comes from {active or 'the active version'}.",
            "Where the two differ, the frame is kept in the list of differences and comes up for review.",
            *instead,
        ),
        f"Change the share of {version}" if again else f"Let {version} shadow",
    )


def ending(version: str, active: str | None) -> Plan:
    """Of `DELETE /v1/models/{version}/shadow`."""
    return Plan(
        f"End the shadow of {version}?",
        (
            f"{version} scores no more frames; its memory returns. {active or 'The active version'} is not touched.",
            "Differences found so far stay in the list.",
        ),
        f"End the shadow of {version}",
    )


def changed(reply: Mapping[str, Any]) -> str:
    """What an activation or a rollback did.

    >>> changed({"active": "b", "previous": "a"}), changed({"active": "b", "previous": None})
    ('b serves now, in place of a.', 'b serves now.')
    >>> changed({"active": "b", "previous": "b"})
    'b was active already, and serves.'
    >>> changed({"active": "a", "previous": "c", "skipped": ["b"]})
    'a serves now, in place of c. Passed over, for they are not there any more: b.'
    """
    active, previous = reply["active"], reply.get("previous")
    if previous == active:
        return f"{active} was active already, and serves."
    said = f"{active} serves now, in place of {previous}." if previous else f"{active} serves now."
    skipped = ", ".join(reply.get("skipped", ()))
    return f"{said} Passed over, for they are not there any more: {skipped}." if skipped else said


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
