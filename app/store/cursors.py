"""Where a page of the record ended, as a client hands it back: opaque, and no number that it could have made up."""

import base64
import binascii
import hashlib

# Of which all but the first bit are a number: a database's integers have a sign.
NUMBER_BYTES = 8
LARGEST = 2**63 - 1
CHECK_BYTES = 4


def cursor_of(number: int) -> str:
    """What stands in `next` of a page after which the rows below this number follow.

    >>> cursor_of(1)
    'AAAAAAAAAAGzBlbm'
    """
    written = number.to_bytes(NUMBER_BYTES, "big")
    return base64.urlsafe_b64encode(written + _check(written)).decode()


def number_before(cursor: str) -> int:
    """The number in a cursor. Raises ValueError for anything that is not the work of `cursor_of`.

    >>> number_before(cursor_of(1234567890123456789))
    1234567890123456789
    >>> number_before("AAAAAAAAAAGzBlbn")
    Traceback (most recent call last):
    ValueError: not a cursor of ours: hand back the `next` of the page before, as it stands
    """
    try:
        read = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        read = b""
    written, check = read[:NUMBER_BYTES], read[NUMBER_BYTES:]
    number = int.from_bytes(written, "big")
    if len(written) != NUMBER_BYTES or check != _check(written) or number > LARGEST:
        raise ValueError("not a cursor of ours: hand back the `next` of the page before, as it stands")
    return number


def _check(written: bytes) -> bytes:
    """So that a cursor cut short or mistyped is refused, and not taken for another place in the record."""
    return hashlib.sha256(b"cursor" + written).digest()[:CHECK_BYTES]
