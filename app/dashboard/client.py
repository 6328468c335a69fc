"""The API as the desk calls it: a function for each question, one exception for every way of getting no answer."""

import ssl
from collections.abc import AsyncIterator, Mapping
from copy import copy
from typing import Any
from urllib.parse import quote

import httpx
import orjson

Json = dict[str, Any]

CONNECT_S = 2.0
# Every question of a page is answered in a fraction of a second; one that takes this long will not be.
ANSWER_S = 10.0
# Loading and warming a version takes seconds, on a busy machine tens of them.
MODEL_ANSWER_S = 180.0


class ApiError(Exception):
    """Why the API did not do what was asked, in its own words where it gave some.

    status: the HTTP status; None where nothing answered. code: the problem document's, or `unreachable`.
    """

    def __init__(self, detail: str, *, title: str, code: str, status: int | None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.title = title
        self.code = code
        self.status = status

    @property
    def unreachable(self) -> bool:
        """True where nothing answered: asking again later may help, asking otherwise does not."""
        return self.status is None


class Events:
    r"""Server-sent events out of the bytes of a stream, however it is cut.

    >>> events = Events()
    >>> events.feed(b'event: inspection\ndata: {"verdict": "ok"')
    []
    >>> events.feed(b'}\n\n: still here\n\n')
    [('inspection', {'verdict': 'ok'})]
    """

    def __init__(self) -> None:
        self._rest = b""
        self._kind = "message"
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> list[tuple[str, Json]]:
        """What is complete now: kinds and bodies. Comments, which keep the connection open, are left out."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        found = []
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                self._kind = value.decode()
            elif name == b"data":
                self._data.append(value)
            elif not name and not value:
                if self._data:
                    found.append((self._kind, orjson.loads(b"\n".join(self._data))))
                self._kind, self._data = "message", []
        return found


def path(*parts: str) -> str:
    """A path of the API, each part quoted whole.

    >>> path("v1", "coils", "A/7?")
    '/v1/coils/A%2F7%3F'
    """
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class Api:
    """Asks one server. Every function raises `ApiError`.

    key: what it says of itself, a key or a session's token, as docs/api.md has it. verify: whom it believes to be the
    server.
    """

    def __init__(
        self,
        base_url: str,
        transport: httpx.AsyncBaseTransport | None = None,
        key: str | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.base_url = base_url
        self._headers = _bearing(key)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            # A proxy that the environment names is for the internet, where the API is not.
            trust_env=False,
            transport=transport,
            verify=verify,
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    def bearing(self, token: str | None) -> "Api":
        """The same server, asked by the holder of a token, or by nobody in particular; over the same connections."""
        other = copy(self)
        other._headers = _bearing(token)
        return other

    # -- who asks

    async def who(self) -> Json:
        """Name, role and scopes of whose token this is."""
        return await self._get("/v1/sessions")

    async def sign_in(self, name: str, password: str, address: str) -> str:
        """A token for a person at an address."""
        said = {"name": name, "password": password, "address": address}
        token: str = (await self._post("/v1/sessions", said))["token"]
        return token

    async def sign_in_vouched(self, id_token: str, nonce: str, address: str) -> str:
        """The same for whom the OpenID provider names."""
        said = {"id_token": id_token, "nonce": nonce, "address": address}
        token: str = (await self._post("/v1/sessions/oidc", said))["token"]
        return token

    async def sign_out(self) -> None:
        """End the session of this token."""
        await self.ask("DELETE", "/v1/sessions")

    # -- the line

    async def cameras(self) -> list[Json]:
        """What each camera did last, and how it does."""
        return await self._list("/v1/cameras", "cameras")

    async def live(self, silence_s: float) -> AsyncIterator[tuple[str, Json]]:
        """Kinds and bodies of what happens, as it happens, after one `("open", {})`. Ends when the server ends it.

        silence_s: how long nothing at all, not even a comment, may come.
        """
        try:
            timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
            async with self._http.stream("GET", "/v1/live", headers=self._headers, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _refused(answer)
                yield "open", {}
                events = Events()
                async for part in answer.aiter_bytes():
                    for event in events.feed(part):
                        yield event
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        except orjson.JSONDecodeError as error:
            raise _strange(answer) from error

    # -- coils

    async def coils(self, state: str | None = None, limit: int = 50, cursor: str | None = None) -> Json:
        """`{"coils": [...], "next": ...}`, newest first; state: `open`, `closed` or None for both."""
        return await self._get("/v1/coils", {"state": state, "limit": limit, "cursor": cursor})

    async def coil(self, coil_id: str) -> Json:
        """One coil with coverage, events and acceptance."""
        return await self._get(path("v1", "coils", coil_id))

    async def coil_map(self, coil_id: str) -> Json:
        """The strip to scale, with events and gaps."""
        return await self._get(path("v1", "coils", coil_id, "map"), {"format": "json"})

    async def coil_events(self, coil_id: str, limit: int = 200, cursor: str | None = None) -> Json:
        """`{"events": [...], "next": ...}` by position."""
        return await self._get(path("v1", "coils", coil_id, "events"), {"limit": limit, "cursor": cursor})

    async def close_coil(self, coil_id: str) -> Json:
        """End a coil by hand."""
        return await self._post(path("v1", "coils", coil_id, "close"))

    # -- inspections

    async def inspections(self, **filters: Any) -> Json:
        """`{"inspections": [...], "next": ...}`, newest first; filters as docs/api.md names them, None is none."""
        return await self._get("/v1/inspections", filters)

    async def inspection(self, inspection_id: str) -> Json:
        """One inspection with events, image and reviews."""
        return await self._get(path("v1", "inspections", inspection_id))

    async def explain(self, inspection_id: str, **parameters: Any) -> Json:
        """What the network saw on the worst tile of a stored inspection."""
        return await self._get(path("v1", "inspections", inspection_id, "explain"), parameters, MODEL_ANSWER_S)

    # -- reviews

    async def queue(self, limit: int = 20) -> Json:
        """`{"queue": [row + why...], "waiting": n}`, the most helpful first."""
        return await self._get("/v1/reviews/queue", {"limit": limit})

    async def defect_classes(self) -> list[str]:
        """What a defect may be called."""
        answer: list[str] = (await self._get("/v1/reviews/classes"))["defect_classes"]
        return answer

    async def review_rates(self) -> list[Json]:
        """Estimated escapes and overkill for each version."""
        return await self._list("/v1/reviews/rates", "versions")

    async def review(self, inspection_id: str, review: Json) -> Json:
        """Record what a person said."""
        return await self._post(path("v1", "inspections", inspection_id, "review"), review)

    async def undo_review(self, inspection_id: str, reviewer: str) -> Json | None:
        """Take the reviewer's own review back, if it is the one that counts; what counts now, or None."""
        where = path("v1", "inspections", inspection_id, "review")
        answer: Json | None = await self.ask("DELETE", where, params={"reviewer": reviewer, "own": "true"})
        return answer

    # -- models

    async def models(self) -> Json:
        """Every version, the active one, what is loaded and any failure."""
        return await self._get("/v1/models")

    async def model(self, version: str) -> Json:
        """One version with its manifest."""
        return await self._get(path("v1", "models", version))

    async def activate(self, version: str) -> Json:
        """Serve a version."""
        return await self._post(path("v1", "models", version, "activate"), answer_s=MODEL_ANSWER_S)

    async def roll_back(self) -> Json:
        """Serve the version before."""
        return await self._post("/v1/models/rollback", answer_s=MODEL_ANSWER_S)

    async def start_shadow(self, version: str, share: float) -> Json:
        """Let a version score a share of the live frames; share above 0, at most 1."""
        return await self._post(path("v1", "models", version, "shadow"), {"share": share}, MODEL_ANSWER_S)

    async def stop_shadow(self, version: str) -> None:
        """End that."""
        await self.ask("DELETE", path("v1", "models", version, "shadow"))

    async def shadow_differences(self) -> list[Json]:
        """The latest frames that the shadow judged otherwise."""
        return await self._list("/v1/models/shadow/differences", "differences")

    # -- health

    async def ready(self) -> tuple[bool, Json]:
        """Whether a model serves, and what `/readyz` says: a problem document if none does."""
        answer = await self._send("GET", "/readyz")
        return answer.is_success, _body(answer)

    async def record(self) -> Json:
        """Database, archive and writer."""
        return await self._get("/v1/record")

    async def metrics(self) -> str:
        """All metrics in Prometheus' text format."""
        answer = await self._send("GET", "/metrics")
        if answer.is_error:
            raise _refused(answer)
        return answer.text

    # -- how it is asked

    async def open(self, where: str, headers: Mapping[str, str]) -> httpx.Response:
        """An answer whose body is still to be read, and that the caller closes; any status."""
        request = self._http.build_request("GET", where, headers={**headers, **self._headers})
        try:
            return await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    async def _list(self, where: str, name: str) -> list[Json]:
        answer: list[Json] = (await self._get(where))[name]
        return answer

    async def _get(self, where: str, parameters: Mapping[str, Any] | None = None, answer_s: float = ANSWER_S) -> Json:
        answer: Json = await self.ask("GET", where, answer_s, params=_given(parameters or {}))
        return answer

    async def _post(self, where: str, body: Json | None = None, answer_s: float = ANSWER_S) -> Json:
        answer: Json = (
            await self.ask("POST", where, answer_s, json=body)
            if body is not None
            else await self.ask("POST", where, answer_s)
        )
        return answer

    async def ask(self, method: str, where: str, answer_s: float = ANSWER_S, **content: Any) -> Any:
        answer = await self._send(method, where, answer_s, **content)
        if answer.is_error:
            raise _refused(answer)
        return _body(answer) if answer.content else None

    async def _send(self, method: str, where: str, answer_s: float = ANSWER_S, **content: Any) -> httpx.Response:
        content["headers"] = {**content.get("headers", {}), **self._headers}
        try:
            return await self._http.request(
                method, where, timeout=httpx.Timeout(answer_s, connect=CONNECT_S), **content
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> ApiError:
        what = "took too long to answer" if isinstance(error, httpx.ReadTimeout) else "does not answer"
        return ApiError(
            f"The API at {self.base_url} {what} ({type(error).__name__}). Is `python -m app serve` running there?",
            title="The API does not answer",
            code="unreachable",
            status=None,
        )


def _bearing(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that have a value; switches as the API writes them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }


def _body(answer: httpx.Response) -> Any:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError as error:
        raise _strange(answer) from error


def _strange(answer: httpx.Response) -> ApiError:
    return ApiError(
        f"{answer.request.url} answered {answer.status_code} with something that is no JSON. "
        "Is it Steelsight's API that --api names?",
        title="Not understood",
        code="not_understood",
        status=answer.status_code,
    )


def _refused(answer: httpx.Response) -> ApiError:
    """What a problem document says; of any other error its status."""
    try:
        problem = orjson.loads(answer.content)
        return ApiError(problem["detail"], title=problem["title"], code=problem["code"], status=answer.status_code)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ApiError(
            f"{answer.request.method} {answer.request.url.path} was answered with status {answer.status_code} "
            "and no reason.",
            title=answer.reason_phrase or "Refused",
            code="unexplained",
            status=answer.status_code,
        )
