"""Numbers and verdicts as people read them. Lengths come in mm and are shown in metres."""

VERDICT_SYMBOLS = {"ok": "✓", "review": "?", "defect": "✕", "accept": "✓", "hold": "!", "reject": "✕"}
VERDICT_WORDS = {
    "ok": "OK",
    "review": "Review",
    "defect": "Defect",
    "accept": "Accept",
    "hold": "Hold",
    "reject": "Reject",
}
UNKNOWN = "unknown"
# A frame is judged, or refused, within 10 s of its receipt: one that comes half as late has waited at its sender.
LATE_MS = 5_000
# Clocks that are set by each other differ by less.
CLOCKS_DIFFER_MS = 1000


def late(lag_ms: float | None) -> bool:
    """Whether a frame came so long after it was taken that its verdict is of little use to the line."""
    return lag_ms is not None and lag_ms > LATE_MS


def clock_ahead(lag_ms: float | None) -> bool:
    """Whether a frame came before it was taken, by a clock that is wrong."""
    return lag_ms is not None and lag_ms < -CLOCKS_DIFFER_MS


def metres(length_mm: float | None, digits: int = 1) -> str:
    """A length along the strip.

    >>> metres(1885.4), metres(1885.4, 3), metres(None)
    ('1.9 m', '1.885 m', 'unknown')
    """
    return UNKNOWN if length_mm is None else f"{length_mm / 1000:,.{digits}f} m"


def millimetres(length_mm: float | None) -> str:
    """A length across the strip, or of an event.

    >>> millimetres(12.34), millimetres(1250), millimetres(None)
    ('12 mm', '1,250 mm', 'unknown')
    """
    return UNKNOWN if length_mm is None else f"{length_mm:,.0f} mm"


def probability(value: float | None) -> str:
    """As the API gives it, to three digits.

    >>> probability(0.0305), probability(1), probability(None)
    ('0.030', '1.000', 'unknown')
    """
    return UNKNOWN if value is None else f"{value:.3f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share of one.

    >>> percent(0.0312), percent(None)
    ('3.1 %', 'unknown')
    """
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def as_share(value: float) -> str:
    """A share that somebody has chosen, with the digits that it has.

    >>> as_share(0.1), as_share(0.004), as_share(1)
    ('10 %', '0.4 %', '100 %')
    """
    return f"{100 * value:.3g} %"


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "frame"), counted(1200, "frame"), counted(0, "class", "classes")
    ('1 frame', '1,200 frames', '0 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def spelled(code: str) -> str:
    """A code of the API as words.

    >>> spelled("deadline_exceeded")
    'deadline exceeded'
    """
    return code.replace("_", " ")
