"""A route that FastAPI documents and plain ASGI serves: what a frame per millisecond should not pay for.

FastAPI's own handling of one request (dependencies, exit stacks, a response model filled in and dumped) takes several
times what reading the query and sending the bytes takes. Everything around it is FastAPI's: the match of path and
method, the page that describes the parameters, the handlers of refusals.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.access.declared import Requires
from app.parameters import BatchQuery
from app.refusals import Refusal, ServiceCode
from app.requests import RequestRecord
from app.service import service_of

# The reply's bytes, which are JSON.
Endpoint = Callable[[Request, Any], Awaitable[bytes]]

# A camera that names itself and its format sends the same query with every frame. Only short ones are kept, so that
# nobody fills the memory with them.
QUERIES_KEPT = 256
QUERY_KEPT_BYTES = 256


class BareRoute(APIRoute):
    """Serves `async def endpoint(request: Request, query: Q) -> bytes`, Q a `BatchQuery`: its reply as JSON.

    The endpoint's signature and the `response_model` given beside it are what FastAPI describes. What is refused before
    the endpoint is entered is noted in the record here.
    """

    def __init__(self, path: str, endpoint: Endpoint, **described: Any) -> None:
        super().__init__(path, endpoint, **described)
        model: type[BatchQuery] = inspect.signature(endpoint, eval_str=True).parameters["query"].annotation
        self._parsed, self._legible = model.parsed, model.legible
        self._kept = lru_cache(QUERIES_KEPT)(model.parsed)
        self._serve = endpoint
        # Dependencies are not run here: who may use the route is asked by hand.
        (self._requires,) = (each.dependency for each in self.dependencies if isinstance(each.dependency, Requires))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request whose path is this route's."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        query_string: bytes = scope["query_string"]
        try:
            self._requires.admit(request)
            query = (self._kept if len(query_string) <= QUERY_KEPT_BYTES else self._parsed)(query_string)
        except Refusal as error:
            # With these it is known who asks, and that they may send frames.
            if error.code in (ServiceCode.RATE_LIMITED, ServiceCode.PARAMETERS_INVALID):
                legible = self._legible(query_string)
                if RequestRecord.of(request).principal.sends(legible.camera_id):
                    service_of(request).note(legible, error.code)
            raise
        reply = await self._serve(request, query)
        length = str(len(reply)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})
