"""The number of an inspection: its id, unique without asking anyone, and greater than every one before it.

63 bits: microseconds since 1970 (52 bits, until 2112) and a tag of this process (11 bits). The newest inspections are
thereby the end of the primary key, and no worker process waits for another to number its frames.
"""

import re
import threading
import time

TAG_BITS = 11
DIGITS = 16
WRITTEN = re.compile(f"[0-7][0-9a-f]{{{DIGITS - 1}}}")


def inspection_id(number: int) -> str:
    """As the API writes it: 16 hexadecimal digits, in the order of the numbers.

    >>> inspection_id(1)
    '0000000000000001'
    """
    return f"{number:0{DIGITS}x}"


def number_of(written: str) -> int:
    """Raises ValueError for what is not an `inspection_id`.

    >>> number_of(inspection_id(1234567890123456789))
    1234567890123456789
    >>> number_of("0X1")
    Traceback (most recent call last):
    ValueError: an inspection id has 16 hexadecimal digits in small letters, the first at most 7
    """
    if not WRITTEN.fullmatch(written):
        raise ValueError(f"an inspection id has {DIGITS} hexadecimal digits in small letters, the first at most 7")
    return int(written, 16)


def first_number_at(microseconds: int) -> int:
    """The least number of that microsecond since 1970."""
    return microseconds << TAG_BITS


class Numbers:
    """One process's numbers; from any thread. tag: nobody else's who writes to the same record, see `app.store.tags`.

    `raise_to` keeps them rising across restarts on a machine whose clock was set back: the newest inspection stays
    the one with the greatest number.
    """

    def __init__(self, tag: int = 0) -> None:
        self.tag = tag
        self._last = 0
        self._next = threading.Lock()

    def raise_to(self, number: int) -> None:
        """All numbers from here on are greater than this one."""
        with self._next:
            self._last = max(self._last, number >> TAG_BITS)

    def draw(self) -> int:
        """A number that no other inspection has."""
        with self._next:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last << TAG_BITS | self.tag
