"""What FastAPI cannot read off a route: the three body forms, and the problem documents."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from app.errors import PROBLEM_JSON, STATUS
from app.schemas import Problem

BINARY = {"type": "string", "format": "binary"}

INSPECT_BODY: dict[str, Any] = {
    "required": True,
    "description": "One frame: an image file, a form with one part `image`, or raw pixels "
    "(with the query parameters `width`, `height` and `pixel_format`).",
    "content": {
        **{f"image/{kind}": {"schema": BINARY} for kind in ("png", "jpeg", "bmp", "tiff", "webp")},
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY}},
        },
        "application/octet-stream": {"schema": BINARY},
    },
}

BATCH_BODY: dict[str, Any] = {
    "required": True,
    "description": "A form with one part `image` for each image file.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "items": BINARY, "minItems": 1}},
            },
        },
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its `responses`, each with the codes it can carry."""
    schema = Problem.model_json_schema()
    codes = {status: [code for code in STATUS if STATUS[code] == status] for status in statuses}
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes[status])}",
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status in statuses
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body that FastAPI does not read itself. It stands alone: inside the API's description a
    reference to a part of it would lead nowhere.

    model: none that contains itself.
    """
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(each: Any) -> Any:
        if isinstance(each, dict):
            if "$ref" in each:
                part = parts[each["$ref"].removeprefix("#/$defs/")]
                return whole({**part, **{name: value for name, value in each.items() if name != "$ref"}})
            return {name: whole(value) for name, value in each.items()}
        return [whole(one) for one in each] if isinstance(each, list) else each

    told: dict[str, Any] = whole(schema)
    return told
