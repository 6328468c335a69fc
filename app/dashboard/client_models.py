"""What the pages *Models* and *Network* ask beside the plain questions of `app.dashboard.client`."""

from collections.abc import Awaitable
from typing import TypeVar

from app.dashboard.client import MODEL_ANSWER_S, Api, ApiError, Json, path

Answer = TypeVar("Answer")


async def or_refusal(question: Awaitable[Answer]) -> Answer | ApiError:
    """The answer, or why there is none: for one part of a page whose other parts stand all the same."""
    try:
        return await question
    except ApiError as error:
        return error


async def has_report(api: Api, version: str) -> bool:
    """Whether the API has a report of that version; its body is left unread. Raises `ApiError` if nothing answers."""
    answer = await api.open(report_path(version), {})
    await answer.aclose()
    return answer.is_success


def report_path(version: str) -> str:
    """Where the API has the report of a version.

    >>> report_path("steel-128-20260131-083000-9f3c")
    '/v1/models/steel-128-20260131-083000-9f3c/report'
    """
    return path("v1", "models", version, "report")


async def explain_image(api: Api, body: bytes, content_type: str) -> Json:
    """What the active version's network sees in an image file, which is not recorded. Raises `ApiError`."""
    answer: Json = await api.ask(
        "POST", "/v1/explain", MODEL_ANSWER_S, content=body, headers={"content-type": content_type}
    )
    return answer
