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
