"""Signing in and out at the desk: pages without NiceGUI, for a browser that nobody has signed in at yet."""

import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import parse_qsl

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nicegui.client import Client
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.dashboard.assets import static_url
from app.dashboard.client import Api, ApiError
from app.dashboard.door import UNAUTHORIZED, BarredError, Door, SignInNeededError, show_out, visitor_of
from app.dashboard.gate import Origin, led_on, notice, token_of
from app.dashboard.openid import AttemptError, OpenId

MOST_FORM_BYTES = 16 * 1024
HOME = "/line"
# The API ends a session after twelve hours whatever the browser keeps.
COOKIE_S = 12 * 3600
# One page, no scripts but its own file: the strictest policy that a form can have.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {"cache-control": "no-store", "content-security-policy": POLICY}
STALE = "This page was open for too long, or comes from elsewhere. Please try again."


class Signing:
    """The routes. api: asks with the desk's own key, so that it is believed from where people come."""

    def __init__(self, api: Api, door: Door, origin: Origin, openid: OpenId | None) -> None:
        self._api = api
        self._door = door
        self._origin = origin
        self._openid = openid
        pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
        self._page = pages.get_template("sign_in.html")
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/sign-in", self.asked)
        self.router.add_api_route("/sign-in", self.sign_in, methods=["POST"])
        self.router.add_api_route("/sign-out", self.sign_out, methods=["POST"])
        if openid is not None:
            self.router.add_api_route("/sign-in/openid", self.begin)
            self.router.add_api_route("/sign-in/openid/back", self.back)

    async def asked(self, request: Request) -> Response:
        """The page; whoever has signed in is led on."""
        back = inside(request.query_params.get("next"))
        try:
            await self._door.visitor(token_of(request.scope, self._origin.cookie), used=True)
        except SignInNeededError:
            return self._shown(request, back)
        except BarredError as error:
            return notice("Closed", str(error), 403)
        except ApiError as error:
            return notice(error.title, error.detail, 503, again=True)
        return RedirectResponse(back, 303)

    async def sign_in(self, request: Request) -> Response:
        """Name and password -> a session in a cookie."""
        said = await _form(request)
        back = inside(said.get("next"))
        if not _same(said.get("form"), _form_token(request.cookies.get(self._form_cookie))):
            return self._shown(request, back, STALE, status=403)
        name = said.get("name", "")
        try:
            token = await self._api.sign_in(name, said.get("password", ""), _address(request))
        except ApiError as error:
            complaint = (
                "Name and password do not belong together, or you are not let in any more."
                if error.status == UNAUTHORIZED
                else error.detail
            )
            return self._shown(request, back, complaint, name, error.status or 503)
        return self._begun(RedirectResponse(back, 303), token)

    async def sign_out(self, request: Request) -> Response:
        """The session ends, and all pages of it lead to the sign-in."""
        token = token_of(request.scope, self._origin.cookie)
        said = await _form(request)
        if token is None or not _same(said.get("form"), _form_token(token)):
            return notice("Not signed out", STALE, 403)
        await self._door.leave(token)
        for page in list(Client.instances.values()):
            if visitor_of(page).token == token:
                show_out(page)
        answer = RedirectResponse("/sign-in", 303, {"clear-site-data": '"cache"'})
        answer.delete_cookie(
            self._origin.cookie, path="/", secure=self._origin.sealed, httponly=True, samesite="strict"
        )
        return answer

    async def begin(self, request: Request) -> Response:
        """To the OpenID provider."""
        assert self._openid is not None
        back = inside(request.query_params.get("next"))
        try:
            where, attempt = await self._openid.begin(self._origin.of(request.scope), back)
        except AttemptError as error:
            return self._shown(request, back, str(error), status=503)
        answer = RedirectResponse(where, 303, HEADERS)
        # Lax: the provider's page leads back here, and this cookie must come along.
        answer.set_cookie(
            self._attempt_cookie,
            attempt,
            max_age=self._openid.LASTS_S,
            path="/",
            secure=self._origin.sealed,
            httponly=True,
            samesite="lax",
        )
        return answer

    async def back(self, request: Request) -> Response:
        """From the OpenID provider: its word -> a session in a cookie."""
        assert self._openid is not None
        attempt = request.cookies.get(self._attempt_cookie)
        try:
            told = await self._openid.end(str(request.url), attempt, self._origin.of(request.scope))
            token = await self._api.sign_in_vouched(told.id_token, told.nonce, _address(request))
        except AttemptError as error:
            return self._shown(request, HOME, str(error), status=403)
        except ApiError as error:
            return self._shown(request, HOME, error.detail, status=error.status or 503)
        # A redirect would still be the provider's doing, and the session's cookie, which is strict, would stay behind.
        answer = self._begun(led_on(inside(told.back)), token)
        answer.delete_cookie(self._attempt_cookie, path="/")
        return answer

    @property
    def _form_cookie(self) -> str:
        return f"{self._origin.cookie}-form"

    @property
    def _attempt_cookie(self) -> str:
        return f"{self._origin.cookie}-openid"

    def _begun(self, answer: Response, token: str) -> Response:
        answer.set_cookie(
            self._origin.cookie,
            token,
            max_age=COOKIE_S,
            path="/",
            secure=self._origin.sealed,
            httponly=True,
            samesite="strict",
        )
        answer.headers["cache-control"] = "no-store"
        return answer

    def _shown(
        self, request: Request, back: str, complaint: str = "", name: str = "", status: int = 200
    ) -> HTMLResponse:
        kept = request.cookies.get(self._form_cookie)
        secret = kept if kept and len(kept) == FORM_SECRET_CHARACTERS else secrets.token_urlsafe(32)
        page = self._page.render(
            styles=static_url("desk.css"),
            script=static_url("signing.js"),
            complaint=complaint,
            form=_form_token(secret),
            next=back,
            name=name,
            provider=self._openid is not None,
        )
        answer = HTMLResponse(page, status, HEADERS)
        # The session's cookie goes too, if there was one: it has ended.
        answer.set_cookie(
            self._form_cookie, secret, path="/", secure=self._origin.sealed, httponly=True, samesite="strict"
        )
        return answer


FORM_SECRET_CHARACTERS = len(secrets.token_urlsafe(32))


def form_token(session: str) -> str:
    """What a form of a signed-in page carries: another site can neither read nor guess it."""
    return _form_token(session)


def inside(back: str | None) -> str:
    """Where to go on, if it is a page of the desk's own.

    >>> inside("/coil?coil_id=7..8"), inside("//elsewhere"), inside("https://elsewhere"), inside("/a/../sign-in")
    ('/coil?coil_id=7..8', '/line', '/line', '/line')
    """
    usable = (
        back is not None
        and back.startswith("/")
        and not back.startswith(("//", "/\\", "/sign-"))
        and ".." not in back.partition("?")[0]
        and back.isascii()
        and back.isprintable()
        and "\\" not in back
    )
    return back if usable and back is not None else HOME


def _form_token(secret: str | None) -> str:
    return hmac.new((secret or secrets.token_hex()).encode(), b"form", hashlib.sha256).hexdigest()


def _same(said: str | None, expected: str) -> bool:
    return hmac.compare_digest((said or "").encode(), expected.encode())


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that is sent as one; nothing where it is too long, or none."""
    if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        return {}
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8))
    except ValueError:
        return {}
