"""multipart/form-data in memory: a body -> its parts. Nothing is spooled to disk."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.refusals import Refusal, ServiceCode

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass
class Part:
    """One part: the name from its Content-Disposition, and its bytes."""

    name: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """The part's content."""
        return b"".join(self.pieces)


def parts(body: bytes, boundary: bytes, most: int) -> list[Part]:
    r"""Split a whole body. Raises `Refusal` (multipart_invalid): malformed, cut short, more than `most` parts.

    >>> [(part.name, part.data) for part in parts(
    ...     b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nBM\r\n--b--\r\n', b"b", most=1)]
    [('image', b'BM')]
    """
    reader = _Reader(most)
    try:
        MultipartParser(boundary, reader.callbacks()).write(body)
    except FormParserError as error:
        raise invalid(f"the multipart body is malformed ({error})") from error
    if not reader.ended:
        raise invalid("the multipart body is cut short: its closing boundary is missing")
    return reader.parts


def invalid(message: str) -> Refusal:
    """The refusal of every multipart body that is not what it should be."""
    return Refusal(ServiceCode.MULTIPART_INVALID, message)


class _Reader:
    """Collects what the parser calls out. Slices of the body, so that a part's bytes are copied once."""

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._most = most
        self._name, self._value = b"", b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._content,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        # Stop here: a body of a million tiny parts would keep a thread for minutes.
        if len(self.parts) == self._most:
            raise invalid(f"the multipart body has more than {self._most} part{'s'[: self._most > 1]}")
        self.parts.append(Part())

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _content(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        part = self.parts[-1]
        disposition, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise invalid("a part has no `Content-Disposition: form-data` with a name")
        part.name = options[b"name"].decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].pieces.append(data[start:end])

    def _end(self) -> None:
        self.ended = True
