"""A request's JSON, read one way everywhere: strictly, bounded before it is read, and refused in words that are safe.

RFC 8259, and of what it leaves open: UTF-8 without a byte order mark; numbers that a double can hold; no lone
surrogates; no key twice in an object, of which each reader would believe another; no deeper than anything here is.
"""

import json
from collections import Counter
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.arriving import read_bytes
from app.complaints import complaints, echo
from app.refusals import Refusal, ServiceCode

# Our deepest document, a tensor of nested lists, has nine.
MAX_DEPTH = 16

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, model: type[M], most: int, seconds: float, example: str) -> M:
    """The body as a model.

    most: bytes. seconds: in which it must be there. example: what to send, for whoever sent nothing.
    Raises `Refusal` (request_invalid: no JSON; parameters_invalid: not what the model says), and as `read_bytes`.
    """
    body = await read_bytes(request, most, seconds, example)
    try:
        return model.model_validate_json(strict(body))
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise Refusal(ServiceCode.PARAMETERS_INVALID, complaints(found)) from None


def strict(text: bytes) -> bytes:
    """The same document for a model to read: as JSON still, of which a strict model takes more than of Python.

    >>> strict(b'{ "share": 1e-1 }')
    b'{"share":0.1}'

    Raises `Refusal` (request_invalid).
    """
    told = loaded(text)
    _require_keys_once(text)
    return orjson.dumps(told)


def loaded(text: bytes | memoryview) -> Any:
    """JSON -> Python, no deeper than `MAX_DEPTH`. Of a key that is there twice the last value. Raises `Refusal`.

    >>> loaded(b'{"share": 0.1}')
    {'share': 0.1}
    """
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(str(error)) from None
    if _depth_exceeds(told):
        raise invalid(f"it is nested deeper than {MAX_DEPTH} levels")
    return told


def invalid(why: str) -> Refusal:
    """The refusal of a body that is no JSON."""
    return Refusal(ServiceCode.REQUEST_INVALID, f"the body is not valid JSON: {why}")


def _depth_exceeds(told: Any) -> bool:
    """Level by level: a hostile document would exhaust the stack."""
    level = [told]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _nested(each)]
    return bool(level)


def _nested(told: Any) -> list[Any]:
    """The objects and arrays in it. Of a tensor's row, all numbers, none is looked at."""
    values = told if isinstance(told, list) else list(told.values()) if isinstance(told, dict) else []
    kinds = set(map(type, values))
    return [each for each in values if isinstance(each, dict | list)] if kinds & {dict, list} else []


def _require_keys_once(text: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise invalid(f"the key {echo(name)} is there more than once")
        return values

    json.loads(text, object_pairs_hook=once, parse_int=float)
