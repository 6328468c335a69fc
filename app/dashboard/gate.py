"""The desk's gate: every request and every socket is somebody's, and comes from the desk's own pages."""

from collections.abc import Iterable
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from nicegui import __version__
from nicegui.client import Client
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.dashboard.client import ApiError
from app.dashboard.door import VISITOR, BarredError, Door, SignInNeededError, sign_in_url, visitor_of

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What shows nothing of the plant: programs and styles of the pages, the way in, and that the desk is up.
SIGN_IN = "/sign-in"
UP = "/healthz"
FOR_EVERYBODY = ("/sign-in/", "/static/", "/favicon.ico", f"/_nicegui/{__version__}/")
# Asked by pages on their own; a camera's picture every second is no sign of a person.
BY_ITSELF = ("/picture/", "/_nicegui_ws/")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
AGAIN_S = 3
# Socket.IO: an event of a page, not the heartbeat of its connection; and what a page says with one that nobody caused.
SOCKET_EVENT, BY_TIMER = '42["event"', "steelsight-timer"


class Origin:
    """The desk's own address, as browsers see it. public: where a proxy stands before it, the proxy's.

    sealed: of the desk, whether it speaks TLS itself; of the origin, whether browsers do.
    """

    def __init__(self, public: str | None, *, alone: bool, sealed: bool = False) -> None:
        self.public = public.rstrip("/") if public else None
        self.sealed = self.public.startswith("https://") if self.public else sealed
        self._itself_sealed = sealed
        self._alone = alone

    @property
    def cookie(self) -> str:
        """What the session's cookie is called. Over TLS by a name that no other site of the domain can write."""
        return "__Host-steelsight" if self.sealed else "steelsight"

    def of(self, scope: Scope) -> str:
        """The origin that pages of the desk have for the browser of a request."""
        if self.public is not None:
            return self.public
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return f"{scheme}://{Headers(scope=scope).get('host', '')}"

    def known(self, scope: Scope) -> bool:
        """Whether the browser means this desk. Where nobody signs in, a page elsewhere could else lead its own name
        to this machine and read with it (DNS rebinding).
        """
        host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
        named = urlsplit(self.public).hostname if self.public else None
        return not self._alone or host in LOOPBACK or (host is not None and host == named)

    def foreign(self, scope: Scope) -> bool:
        """Whether what is asked comes from another site's page, or from no page at all."""
        said = Headers(scope=scope).get("origin")
        return said is None or said not in {self.of(scope), self._direct(scope)}

    def _direct(self, scope: Scope) -> str:
        # Past the proxy, on the machine itself.
        host = Headers(scope=scope).get("host", "")
        scheme = "https" if self._itself_sealed else "http"
        return f"{scheme}://{host}" if urlsplit(f"//{host}").hostname in LOOPBACK else ""


class Gate:
    """Asks the door for every request but those for what everybody may see."""

    def __init__(self, app: ASGIApp, door: Door, origin: Origin) -> None:
        self.app = app
        self._door = door
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through with its visitor."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._elsewhere(scope) or await self._nobody(scope)
        if refusal is None:
            await self.app(scope, self._noticed(scope, receive), send)
        elif scope["type"] == "websocket":
            # Before it is accepted: the browser is answered 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _elsewhere(self, scope: Scope) -> Response | None:
        """A refusal of what does not come from a page of this desk, if it has to."""
        if not self._origin.known(scope):
            return PlainTextResponse("This desk is not called so; see --host and STEELSIGHT_DESK_URL.", 421)
        acts = scope["type"] == "websocket" or scope["method"] not in SAFE
        if acts and self._origin.foreign(scope):
            return PlainTextResponse(
                "This comes from another address than the desk's own. Behind a proxy, STEELSIGHT_DESK_URL says which "
                "address that is.",
                403,
            )
        return None

    async def _nobody(self, scope: Scope) -> Response | None:
        """A refusal of who may not look, or the visitor in the scope."""
        path = scope["path"]
        if path in (SIGN_IN, UP) or path.startswith(FOR_EVERYBODY):
            return None
        token = token_of(scope, self._origin.cookie)
        try:
            visitor = await self._door.visitor(token, used=not path.startswith(BY_ITSELF))
        except SignInNeededError:
            return self._way_in(scope)
        except BarredError as error:
            return notice("Closed", str(error), 403)
        except ApiError as error:
            return notice(error.title, error.detail, 503, again=True)
        scope[VISITOR] = visitor
        # A page is one person's: nobody else's browser may listen on its socket.
        if any(visitor_of(page).token != visitor.token for page in pages_of(scope)):
            return PlainTextResponse("This page is somebody else's.", 403)
        return None

    def _noticed(self, scope: Scope, receive: Receive) -> Receive:
        """What comes through a socket, with an eye on whether somebody is there."""
        if scope["type"] != "websocket" or VISITOR not in scope:
            return receive

        async def noticed() -> Message:
            message = await receive()
            if by_hand(message.get("text") or ""):
                self._door.touch(scope[VISITOR].token)
            return message

        return noticed

    def _way_in(self, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        if scope["type"] == "websocket" or scope["method"] != "GET" or "text/html" not in headers.get("accept", ""):
            return PlainTextResponse("Nobody is signed in at this browser.", 401)
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace").partition("?")[0]
        query = scope["query_string"].decode("ascii", "replace")
        here = f"{path}?{query}" if query else path
        # A link in another site's page brings no cookie along, though there may be one: the desk's own page does.
        if headers.get("sec-fetch-site") == "cross-site":
            return led_on(here)
        return RedirectResponse(sign_in_url(here), 303, {"cache-control": "no-store"})


def by_hand(text: str) -> bool:
    """Whether what comes through a page's socket is a sign of a person.

    >>> by_hand('42["event",{"args":["o"]}]'), by_hand('42["event",{"args":["steelsight-timer"]}]'), by_hand("3")
    (True, False, False)
    """
    return text.startswith(SOCKET_EVENT) and BY_TIMER not in text


def token_of(scope: Scope, cookie: str) -> str | None:
    """The session's token that a browser has sent."""
    return cookies_of(scope).get(cookie)


def cookies_of(scope: Scope) -> dict[str, str]:
    """All cookies of a request."""
    found: SimpleCookie = SimpleCookie()
    for said in Headers(scope=scope).getlist("cookie"):
        try:
            found.load(said)
        except CookieError:
            continue
    return {name: morsel.value for name, morsel in found.items()}


def pages_of(scope: Scope) -> Iterable[Client]:
    """The page whose socket this is to be."""
    named = parse_qs(scope["query_string"].decode("ascii", "replace")).get("client_id", [])
    return [Client.instances[each] for each in named if each in Client.instances]


def led_on(where: str) -> Response:
    """A page of the desk's own that leads to another: what it asks for is asked by the desk, with all cookies."""
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(where)}"><title>Steelsight</title>'
    return HTMLResponse(page, headers={"cache-control": "no-store"})


def notice(title: str, sentence: str, status: int, *, again: bool = False) -> Response:
    """A page that says why there is none. again: it looks by itself whether there is one."""
    refresh = f'<meta http-equiv="refresh" content="{AGAIN_S}">' if again else ""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · Steelsight</title><h1>{escape(title)}</h1><p>{escape(sentence)}</p></html>"
    )
    return HTMLResponse(page, status, {"cache-control": "no-store"})
