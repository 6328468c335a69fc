"""What a client sent, said back to it: in one line, short, and safe however hostile it was."""

from collections.abc import Sequence
from reprlib import Repr
from typing import Any

# A hostile request can be wrong in a million places, each a megabyte long.
MAX_COMPLAINTS = 12
MAX_ECHO = 80
# Of what stands in a URL; an answer is ASCII itself.
EXPECTED_UTF8 = "expected UTF-8, in which a u with umlaut is %C3%BC"
SHORT = Repr()
SHORT.maxlevel, SHORT.maxlong, SHORT.maxother = 3, MAX_ECHO, 2 * MAX_ECHO


def complaints(errors: Sequence[Any]) -> str:
    """Pydantic's findings, by the name of the parameter.

    >>> complaints([{"loc": ("query", "width"), "type": "int", "msg": "Input should be 1 or more", "input": "0"}])
    "width: received '0'; input should be 1 or more"
    """
    lines = [_complaint(error) for error in errors[:MAX_COMPLAINTS]]
    if len(errors) > MAX_COMPLAINTS:
        lines.append(f"and {len(errors) - MAX_COMPLAINTS} more")
    return "; ".join(lines)


def _complaint(error: Any) -> str:
    name = ".".join(map(str, error["loc"][1:])) or "parameters"
    if error["type"] == "extra_forbidden":
        return f"{echo(name)} is not a parameter of this endpoint; see /docs"
    expected = EXPECTED_UTF8 if error["type"] == "string_unicode" else error["msg"].removeprefix("Value error, ")
    return f"{name}: received {echo(error['input'])}; {expected[:1].lower()}{expected[1:]}"


def _shown(value: object) -> str:
    """Of what is nested the outer levels: a whole document would be long, or deeper than the stack."""
    try:
        return SHORT.repr(value).encode("ascii", "backslashreplace").decode()
    # An integer of too many digits to be written.
    except ValueError:
        return f"{type(value).__name__} of too many digits"


def echo(value: object) -> str:
    r"""A received value as plain ASCII, shortened.

    >>> echo("a" * 1000)[-10:], echo(chr(0xD800))
    ('aaaaaa...', "'\\ud800'")
    """
    shown = ascii(value[:MAX_ECHO]) if isinstance(value, str) else _shown(value)
    return shown if len(shown) <= MAX_ECHO else shown[:MAX_ECHO] + "..."
