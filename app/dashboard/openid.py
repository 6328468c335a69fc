"""Signing in at an OpenID provider: the authorization code flow with PKCE, state and nonce.

The desk only leads people there and fetches the ID token; whether that is believed, and what role it makes, says the
API.
"""

import asyncio
import hmac
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]
from itsdangerous import BadData, URLSafeTimedSerializer

from app.access.openid import ANSWER_S, client, described, require_sealed
from app.refusals import Refusal

BACK = "/sign-in/openid/back"
# Name and groups of a person, beside who it is.
WANTED = "openid profile email"
ENDPOINTS = ("authorization_endpoint", "token_endpoint")


class AttemptError(Exception):
    """Why a person could not be led to the provider, or came back without its word; in one sentence."""


@dataclass(frozen=True)
class Told:
    """What a person came back with. back: the page to go on to."""

    id_token: str
    nonce: str
    back: str


class OpenId:
    """One provider. What an attempt needs to be ended is in a signed cookie of the browser that began it."""

    LASTS_S: ClassVar[int] = 600

    def __init__(self, issuer: str, client_id: str, client_secret: str | None) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        # Of this process: who was at the provider while the desk started anew begins again.
        self._seal = URLSafeTimedSerializer(secrets.token_hex(32), salt="steelsight.openid")

    async def begin(self, origin: str, back: str) -> tuple[str, str]:
        """Where to send the browser, and its cookie. Raises `AttemptError`."""
        attempt = {
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
            "back": back,
        }
        endpoints = await self._endpoints()
        async with self._client(origin) as oauth:
            where, _ = oauth.create_authorization_url(
                endpoints["authorization_endpoint"],
                state=attempt["state"],
                nonce=attempt["nonce"],
                code_verifier=attempt["verifier"],
            )
        return str(where), str(self._seal.dumps(attempt))

    async def end(self, came_to: str, cookie: str | None, origin: str) -> Told:
        """What the provider says. came_to: the address that it led the browser back to. Raises `AttemptError`."""
        try:
            attempt: Mapping[str, str] = self._seal.loads(cookie or "", self.LASTS_S)
        except BadData:
            raise AttemptError("The sign-in was begun too long ago, or at another browser. Please try again.") from None
        answer = httpx.URL(came_to).params
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt["state"].encode()):
            raise AttemptError("This answers another sign-in than the one that was begun here. Please try again.")
        if "code" not in answer:
            reason = answer.get("error", "no reason")[:60]
            raise AttemptError(f"The company account did not let you in ({reason}).")
        endpoints = await self._endpoints()
        try:
            async with self._client(origin) as oauth:
                token: dict[str, Any] = await oauth.fetch_token(
                    endpoints["token_endpoint"],
                    code=answer["code"],
                    code_verifier=attempt["verifier"],
                    timeout=ANSWER_S,
                )
        except AuthlibBaseError as error:
            raise AttemptError(f"The company account did not let you in ({error.error or 'no reason'}).") from None
        except (httpx.HTTPError, ValueError) as error:
            raise AttemptError(f"The company account does not answer ({type(error).__name__}).") from error
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise AttemptError("The company account did not say who you are (no ID token).")
        return Told(id_token, attempt["nonce"], attempt["back"])

    def _client(self, origin: str) -> Any:
        with warnings.catch_warnings():
            # It asks for the successor of httpx, which is pinned here beside it.
            warnings.simplefilter("ignore", AuthlibDeprecationWarning)
            from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]  # noqa: PLC0415
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            scope=WANTED,
            redirect_uri=origin + BACK,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if self._client_secret else "none",
            timeout=ANSWER_S,
            trust_env=False,
        )

    async def _endpoints(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(ANSWER_S), client() as http:
                told = await described(self._issuer, http)
            endpoints = {name: str(told[name]) for name in ENDPOINTS}
            for address in endpoints.values():
                require_sealed(address)
        except (Refusal, TimeoutError, KeyError, ValueError) as error:
            reason = error.message if isinstance(error, Refusal) else str(error)
            raise AttemptError(f"You cannot sign in with the company account now: {reason}") from error
        return endpoints
