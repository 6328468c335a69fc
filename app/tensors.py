"""Tensors of the Open Inference Protocol v2: a request's bytes -> tiles, probabilities -> a reply's bytes. No HTTP.

A request is JSON, or JSON with the tensor's bytes behind it (the binary tensor extension). One tensor comes in,
`image`, and one goes out, `defect_probability`; see docs/api.md.
"""

from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from app.complaints import MAX_COMPLAINTS, echo
from app.json_body import loaded
from app.refusals import Refusal, ServiceCode
from model.errors import ErrorCode, SteelsightError
from model.tiling import Probabilities

INPUT, OUTPUT = "image", "defect_probability"
# JSON is parsed in one piece under Python's lock, and a tile of it is 60 KB: this is 250 tiles, and a tenth of a
# second. Larger batches come as binary tensors, which are not parsed at all.
MAX_JSON_BYTES = 16 * 1024 * 1024
DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("uint8"), "FP32": np.dtype("<f4")}

Tiles = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputTensor(_Part):
    """The tiles: in `data`, nested or flat, or in `binary_data_size` bytes behind the JSON."""

    name: Literal["image"]
    shape: tuple[StrictInt, ...] = Field(max_length=8)
    datatype: Literal["UINT8", "FP32"]
    parameters: dict[str, Any] = {}
    data: Any = None


class OutputParameters(BaseModel):
    """How the output is sent; parameters that only some servers know are ignored."""

    binary_data: StrictBool | None = None


class RequestedOutput(_Part):
    """An output that the client asks for; there is one."""

    name: Literal["defect_probability"]
    parameters: OutputParameters = OutputParameters()


class RequestParameters(BaseModel):
    """What holds for the whole request; parameters that only some servers know are ignored."""

    binary_data_output: StrictBool = False


class Head(_Part):
    """The JSON of an inference request."""

    id: str | None = Field(None, max_length=1024)
    parameters: RequestParameters = RequestParameters()
    inputs: tuple[InputTensor] = Field(description="Exactly one: `image`.")
    outputs: tuple[RequestedOutput, ...] = Field((), max_length=1, description="`defect_probability`, or nothing.")


@dataclass(frozen=True)
class InferRequest:
    """What is to be scored, and how it is to be answered.

    tiles: grey 0 to 255, uint8 or float32 of shape (n, tile, tile). binary: the output is to be sent as bytes.
    """

    id: str | None
    tiles: Tiles
    binary: bool


def parse(body: bytes, head_bytes: int | None, tile: int, max_pixels: int) -> InferRequest:
    """Read a request.

    head_bytes: how much of the body is JSON; None: all of it. tile: pixels a side that the network takes.
    max_pixels: of all tiles together.
    Raises `Refusal` (request_invalid, parameters_invalid, body_too_large) and `SteelsightError` (raw_frame_invalid,
    image_too_large).
    """
    head, tail = _head(body, head_bytes)
    (tensor,) = head.inputs
    count = _count(tensor, tile, max_pixels)
    binary_size = tensor.parameters.get("binary_data_size")
    if binary_size is None:
        if len(tail):
            raise _wrong(f"{len(tail)} bytes come after the JSON, but `{INPUT}` names no binary_data_size")
        tiles = _from_json(tensor)
    else:
        tiles = _from_bytes(tensor, binary_size, tail)
    asked = head.outputs[0].parameters.binary_data if head.outputs else None
    binary = head.parameters.binary_data_output if asked is None else asked
    return InferRequest(head.id, tiles.reshape(count, tile, tile), binary)


def answer(request: InferRequest, name: str, version: str, probabilities: Probabilities) -> tuple[bytes, int | None]:
    """The reply's body, and how much of it is JSON if bytes follow.

    >>> asked = InferRequest("7", np.zeros((1, 2, 2), np.uint8), binary=True)
    >>> body, head_bytes = answer(asked, "steelsight", "a", np.array([0.5]))
    >>> orjson.loads(body[:head_bytes])["outputs"][0]["parameters"], body[head_bytes:].hex()
    ({'binary_data_size': 4}, '0000003f')
    """
    values = probabilities.astype("<f4")
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": [len(values), 1]}
    if request.binary:
        output["parameters"] = {"binary_data_size": values.nbytes}
    else:
        output["data"] = values.tolist()
    reply: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": [output]}
    if request.id is not None:
        reply["id"] = request.id
    head = orjson.dumps(reply)
    return (head + values.tobytes(), len(head)) if request.binary else (head, None)


def _head(body: bytes, head_bytes: int | None) -> tuple[Head, memoryview]:
    if head_bytes is not None and head_bytes > len(body):
        raise Refusal(
            ServiceCode.REQUEST_INVALID,
            f"Inference-Header-Content-Length is {head_bytes}, but the body has {len(body)} bytes",
        )
    whole = memoryview(body)
    text, tail = (whole, whole[:0]) if head_bytes is None else (whole[:head_bytes], whole[head_bytes:])
    if len(text) > MAX_JSON_BYTES:
        raise Refusal(
            ServiceCode.BODY_TOO_LARGE,
            f"the JSON has {len(text)} bytes; at most {MAX_JSON_BYTES} are accepted: send tensors as binary data",
        )
    try:
        return Head.model_validate(loaded(text)), tail
    except ValidationError as error:
        raise Refusal(ServiceCode.PARAMETERS_INVALID, _complaints(error)) from error


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    lines = [f"{'.'.join(echo(str(step))[1:-1] for step in each['loc']) or 'body'}: {each['msg']}" for each in found]
    return "; ".join(lines[:MAX_COMPLAINTS])


def _count(tensor: InputTensor, tile: int, max_pixels: int) -> int:
    """How many tiles the shape announces."""
    if len(tensor.shape) != 4 or tensor.shape[1:] != (tile, tile, 1) or tensor.shape[0] < 1:
        raise _wrong(f"the shape of `{INPUT}` is {echo(list(tensor.shape))}; expected [tiles, {tile}, {tile}, 1]")
    if prod(tensor.shape) > max_pixels:
        raise SteelsightError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"{tensor.shape[0]} tiles have {prod(tensor.shape)} pixels; at most {max_pixels} are accepted at a time",
        )
    return tensor.shape[0]


def _from_bytes(tensor: InputTensor, size: Any, tail: memoryview) -> Tiles:
    dtype = DTYPES[tensor.datatype]
    expected = prod(tensor.shape) * dtype.itemsize
    if tensor.data is not None:
        raise _wrong(f"`{INPUT}` has both data and binary_data_size; send one of them")
    if type(size) is not int or size != expected or len(tail) != expected:
        raise _wrong(
            f"binary_data_size is {echo(size)} and {len(tail)} bytes come after the JSON; "
            f"{tensor.datatype} of shape {list(tensor.shape)} has {expected} bytes"
        )
    values = np.frombuffer(tail, dtype)
    return values if tensor.datatype == "UINT8" else _grey(values)


def _from_json(tensor: InputTensor) -> Tiles:
    flat = _flat(tensor.data, tensor.shape)
    allowed = {int} if tensor.datatype == "UINT8" else {int, float}
    if not set(map(type, flat)) <= allowed:
        raise _wrong(f"data holds something that is no {tensor.datatype} value; expected grey values from 0 to 255")
    if tensor.datatype == "FP32":
        return _grey(np.array(flat, np.float64))
    if min(flat) < 0 or max(flat) > 255:
        raise _wrong(f"data reaches from {min(flat)} to {max(flat)}; UINT8 is 0 to 255")
    return np.array(flat, np.uint8)


def _flat(data: Any, shape: tuple[int, ...]) -> list[Any]:
    """All values row by row, of data that is nested as the shape is, or flat."""
    if type(data) is not list:
        raise _wrong(f"`{INPUT}` has neither data, a list, nor binary_data_size")
    if data and type(data[0]) is list:
        for length in shape[1:]:
            if set(map(type, data)) != {list} or set(map(len, data)) != {length}:
                raise _wrong(f"data is not nested as its shape {list(shape)} says; nested so, or flat, is accepted")
            data = list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise _wrong(f"data has {len(data)} values; shape {list(shape)} has {prod(shape)}")
    return list(data)


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Floats as the network takes them. NaN compares false, so that it is found here too."""
    if not (values.min() >= 0 and values.max() <= 255):
        raise _wrong("FP32 data holds a value that is not a grey value: each must be finite, from 0 to 255")
    return values.astype(np.float32, copy=False)


def _wrong(message: str) -> SteelsightError:
    return SteelsightError(ErrorCode.RAW_FRAME_INVALID, message)
