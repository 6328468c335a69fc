"""What an `.onnx` file may hold: its structure is read as data, before a runtime opens it.

ONNX is a protocol buffer: fields of a number, a wire type and a value. Only lengths are followed and nothing is
allocated that the file merely claims. Field numbers are those of onnx.proto3, IR version 8.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.errors import ErrorCode, SteelsightError

# What the exports of `model.export` and `training.quantize` consist of, and what other releases of the converter wrote
# for the same layers. None of them loops, branches, reads files, or makes much of a small constant.
ALLOWED_OPERATORS = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Cast", "Concat", "Conv", "DequantizeLinear", "Div", "Flatten",
        "Gather", "Gemm", "GlobalAveragePool", "Identity", "MatMul", "Max", "MaxPool", "Min", "Mul", "QuantizeLinear",
        "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape", "Slice", "Sqrt", "Squeeze", "Sub",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# The standard's own operators have no domain or this one. The converter also lists ai.onnx.ml, and uses nothing of it.
STANDARD_DOMAINS = frozenset({b"", b"ai.onnx"})
LISTED_DOMAINS = STANDARD_DOMAINS | {b"ai.onnx.ml"}
# TensorProto.DataType -> bytes of a number: what our exports hold, float32, integers and 8-bit weights.
NUMBER_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8}
FLOAT32 = 1
# Of an operator: strides, pads, kernels, axes. A pad of 2^40 is memory that no file of this size can mean.
LARGEST_ATTRIBUTE = 65_536
# The deepest of our networks has about 30 operators and 60 constants; fields inside them are some thousands.
MOST_FIELDS = 100_000
TENSOR_FIELDS = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """number: which of the message's fields. value: of a varint the number, else its bytes."""

    number: int
    value: int | memoryview


class Malformed(ValueError):
    """Why the file is no network of ours, in words for people."""


class _Reader:
    """Fields of messages, counted over the whole file."""

    def __init__(self) -> None:
        self._left = MOST_FIELDS

    def fields(self, message: int | memoryview) -> Iterator[Field]:
        """The fields of a message, in the order of the file. Raises `Malformed`."""
        if isinstance(message, int):
            raise Malformed("a number stands where a message is due")
        at = 0
        while at < len(message):
            self._left -= 1
            if self._left < 0:
                raise Malformed(f"it has more than {MOST_FIELDS} fields")
            tag, at = _varint(message, at)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, at = _varint(message, at)
                yield Field(number, value)
                continue
            if kind == LENGTH:
                length, at = _varint(message, at)
            elif kind in (FIXED64, FIXED32):
                length = 8 if kind == FIXED64 else 4
            else:
                raise Malformed(f"a field has the unknown wire type {kind}")
            if length > len(message) - at:
                raise Malformed("it is cut off, or a length in it is wrong")
            yield Field(number, message[at : at + length])
            at += length


def read_onnx(path: Path) -> bytes:
    """The content of an `.onnx` file that is one plain graph of our operators and finite constants.

    What was checked can be handed to a runtime. Raises `SteelsightError` (artifact_invalid) naming what was found.
    """
    try:
        content = path.read_bytes()
        _check_model(_Reader(), memoryview(content))
    except (Malformed, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SteelsightError(
            ErrorCode.ARTIFACT_INVALID, f"{path} cannot be loaded: {reason}; train or copy it anew"
        ) from error
    return content


def _check_model(read: _Reader, model: memoryview) -> None:
    graphs = 0
    for field in read.fields(model):
        if field.number == 7:
            graphs += 1
            _check_graph(read, field.value)
        elif field.number == 8:
            for part in read.fields(field.value):
                if part.number == 1 and _bytes(part) not in LISTED_DOMAINS:
                    raise Malformed(f"it needs operators of the domain {_told(part)}, which are not the standard's own")
        elif field.number in (20, 25):
            raise Malformed("it brings functions or a training graph of its own")
    if graphs != 1:
        raise Malformed(f"it has {graphs} graphs, not one")


def _check_graph(read: _Reader, graph: int | memoryview) -> None:
    for field in read.fields(graph):
        if field.number == 1:
            _check_node(read, field.value)
        elif field.number == 5:
            _check_tensor(read, field.value)
        elif field.number == 15:
            raise Malformed("it holds a sparse constant")


def _check_node(read: _Reader, node: int | memoryview) -> None:
    operator, domain = "", b""
    attributes = []
    for field in read.fields(node):
        if field.number == 4:
            operator = _told(field)
        elif field.number == 7:
            domain = _bytes(field)
        elif field.number == 5:
            attributes.append(field.value)
    if domain not in STANDARD_DOMAINS:
        raise Malformed(f"operator {operator} is of the domain {domain[:50]!r}, which is not the standard's own")
    if operator not in ALLOWED_OPERATORS:
        raise Malformed(f"operator {operator} is not on the list of allowed operators")
    for attribute in attributes:
        _check_attribute(read, operator, attribute)


def _check_attribute(read: _Reader, operator: str, attribute: int | memoryview) -> None:
    """Numbers and words only: a tensor or a graph inside an operator is none of ours."""
    for field in read.fields(attribute):
        if field.number in (5, 6, 10, 11, 14, 15, 22, 23):
            raise Malformed(f"operator {operator} brings a tensor, a type or a graph of its own")
        if field.number == 3:
            _check_size(operator, [_number(field)])
        elif field.number == 8:
            _check_size(operator, _numbers(field))


def _check_size(operator: str, values: list[int]) -> None:
    for value in values:
        # Two's complement in 64 bits: axes may be counted from the end.
        signed = value - 2**64 if value >= 2**63 else value
        if abs(signed) > LARGEST_ATTRIBUTE:
            raise Malformed(f"operator {operator} has the number {signed}; at most {LARGEST_ATTRIBUTE} is allowed")


def _check_tensor(read: _Reader, tensor: int | memoryview) -> None:
    """A constant: whole in this file, as large as its shape says, and of finite numbers."""
    dims: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for field in read.fields(tensor):
        if field.number in (13, 14):
            raise Malformed(f"constant {name or 'of a file'} lies in a file of its own (external data)")
        if field.number not in TENSOR_FIELDS:
            raise Malformed(f"constant {name} is not stored as raw numbers")
        if field.number == 1:
            dims += _numbers(field)
        elif field.number == 2:
            kind = _number(field)
        elif field.number == 8:
            name = _told(field)
        elif isinstance(field.value, memoryview):
            raw = field.value
    if kind not in NUMBER_BYTES:
        raise Malformed(f"constant {name} is of data type {kind}; expected one of {sorted(NUMBER_BYTES)}")
    if len(dims) > 8 or prod(dims) * NUMBER_BYTES[kind] != len(raw):
        raise Malformed(f"constant {name} is of shape {dims[:9]} and has {len(raw)} bytes")
    if kind == FLOAT32 and not np.isfinite(np.frombuffer(raw, "<f4")).all():
        raise Malformed(f"constant {name} holds numbers that are none (NaN or infinite)")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise Malformed("it is cut off, or a length in it is wrong")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise Malformed("a number in it has more than 64 bits")


def _numbers(field: Field) -> list[int]:
    """One number, or several in one field."""
    if isinstance(field.value, int):
        return [field.value]
    found, at = [], 0
    while at < len(field.value):
        value, at = _varint(field.value, at)
        found.append(value)
        if len(found) > 1000:
            raise Malformed("a shape or attribute in it has more than 1000 numbers")
    return found


def _number(field: Field) -> int:
    if not isinstance(field.value, int):
        raise Malformed("bytes stand where a number is due")
    return field.value


def _bytes(field: Field) -> bytes:
    if isinstance(field.value, int):
        raise Malformed("a number stands where a word is due")
    return bytes(field.value[:200])


def _told(field: Field) -> str:
    """A word of the file, safe to be said back."""
    return _bytes(field).decode("ascii", "backslashreplace")
