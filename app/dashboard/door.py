"""Who sits at a browser, and whether the desk lets them in: asked of the API, which alone knows.

The desk keeps no secret of anybody's. The session's token is in the browser's cookie; here is only what the API said of
it a moment ago, and when it was last used.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import urlencode

from nicegui import ui
from nicegui.client import Client

from app.dashboard.client import Api, ApiError

# A session that was ended elsewhere is seen by this process within about that; the API sees it at once.
HOLDS_S = 5.0
LOOK_S = 10.0
# Nobody has touched it for a shift: whoever comes next is somebody else.
IDLE_S = 8 * 3600
MOST_KNOWN = 10_000
UNAUTHORIZED = 401
# Where the visitor of a request stands in its scope.
VISITOR = "visitor"


@dataclass(frozen=True)
class Visitor:
    """Who sits at a browser. role: None where the API is open, and anybody may do everything. token: of the session."""

    name: str
    role: str | None
    scopes: frozenset[str]
    token: str | None

    def may(self, scope: str) -> bool:
        """Whether the API would do what needs this scope. It is asked all the same."""
        return scope in self.scopes


ANYBODY = Visitor("", None, frozenset({"inspect", "read", "review", "admin"}), None)


class SignInNeededError(Exception):
    """Nobody has signed in at this browser, or the session has ended."""


class BarredError(Exception):
    """Why nobody is let in, in one sentence."""


OPEN_BEYOND_LOOPBACK = (
    "this desk can be reached from other machines, and the API asks for no key: anybody could change what is served. "
    "Add a person with `python -m app people add NAME --role admin` and make the desk a key with `python -m app keys "
    "create desk --scope read` (STEELSIGHT_DESK_KEY), or let the desk listen on 127.0.0.1"
)


@dataclass
class _Known:
    visitor: Visitor
    asked_s: float
    used_s: float


class Door:
    """Lets people in.

    alone: the desk is reached from its own machine only. keyed: it has a key of the API's, which is not open then.
    """

    def __init__(self, api: Api, *, alone: bool, keyed: bool) -> None:
        self._api = api
        self._alone = alone
        self._keyed = keyed
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def visitor(self, token: str | None, *, used: bool = False) -> Visitor:
        """Who comes with a token, or with none. used: by a hand on the browser, not by a page on its own.

        Raises `SignInNeededError`, `BarredError`, and `ApiError` where nobody can tell.
        """
        now_s = time.monotonic()
        known = self._known.get(_digest(token))
        if known is not None and token is not None and now_s - known.used_s > IDLE_S:
            await self.leave(token)
            raise SignInNeededError
        if known is not None and used:
            known.used_s = now_s
        if known is not None and now_s - known.asked_s < HOLDS_S:
            return known.visitor
        return await self._asked(token, known, now_s)

    async def leave(self, token: str) -> None:
        """The session ends, here in any case and at the API if it answers."""
        self.forget(token)
        try:
            await self._api.bearing(token).sign_out()
        except ApiError:
            return

    def touch(self, token: str | None) -> None:
        """Somebody is there."""
        if known := self._known.get(_digest(token)):
            known.used_s = time.monotonic()

    def forget(self, token: str | None) -> None:
        """Ask anew next time."""
        self._known.pop(_digest(token), None)

    async def watch(self) -> None:
        """Pages of sessions that have ended lead to the sign-in. Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Once."""
        for client in list(Client.instances.values()):
            visitor = visitor_of(client)
            try:
                if visitor.token is not None:
                    await self.visitor(visitor.token)
            except (SignInNeededError, BarredError):
                show_out(client)
            # Nobody can tell: the page says itself that the API does not answer.
            except ApiError:
                continue

    async def _asked(self, token: str | None, known: _Known | None, now_s: float) -> Visitor:
        try:
            told = await self._api.bearing(token).who()
        except ApiError as error:
            if error.status == UNAUTHORIZED:
                self.forget(token)
                raise SignInNeededError from error
            if known is not None:
                return known.visitor
            # An API that was never heard: as far as anybody knows it is the open one of this machine.
            if error.unreachable and self._alone and not self._keyed and token is None:
                return ANYBODY
            raise
        if told["kind"] == "open":
            if not self._alone:
                raise BarredError(OPEN_BEYOND_LOOPBACK)
            visitor = ANYBODY
        else:
            visitor = Visitor(told["name"], told["role"], frozenset(told["scopes"]), token)
        self._known[_digest(token)] = _Known(visitor, now_s, known.used_s if known else now_s)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return visitor


def visitor_of(client: Client) -> Visitor:
    """At whose browser a page is."""
    visitor = client.request.scope.get(VISITOR, ANYBODY)
    assert isinstance(visitor, Visitor)
    return visitor


def show_out(client: Client) -> None:
    """The page leads to the sign-in, and from there back to where it was."""
    url = client.request.url
    back = f"{url.path}?{url.query}" if url.query else url.path
    with client:
        ui.navigate.to(sign_in_url(back))


def sign_in_url(back: str) -> str:
    """Where one signs in, to be led on to `back`.

    >>> sign_in_url("/coil?coil_id=A%2F7")
    '/sign-in?next=%2Fcoil%3Fcoil_id%3DA%252F7'
    """
    return f"/sign-in?{urlencode({'next': back})}"


def _digest(token: str | None) -> bytes:
    return hashlib.sha256((token or "").encode("utf-8", "replace")).digest()
