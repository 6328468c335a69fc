"""An OpenID provider's word for who somebody is: an ID token, verified, -> name and role."""

import asyncio
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.access.people import Role
from app.refusals import Refusal, ServiceCode
from app.settings import Settings

# Signatures of the provider's own key pair alone: `none` and shared secrets would let others write tokens.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ANSWER_S = 5.0
# Providers change keys in days. A token by a key that is not known yet has them asked again, once a minute at most.
KEYS_HOLD_S, ASKED_AGAIN_S = 3600.0, 60.0
# Tokens are handed on within seconds. An old one, even if it has not expired, comes from somewhere else.
YOUNG_S, CLOCKS_APART_S = 600, 60
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Vouched:
    """Who somebody is, by the provider's word; subject: of this provider, for ever the same person's."""

    name: str
    subject: str
    role: Role


class Provider:
    """One provider, for one client of it."""

    def __init__(
        self, issuer: str, client_id: str, name_claim: str, role_claim: str, roles: Mapping[str, Role]
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._name_claim = name_claim
        self._role_claim = role_claim
        self._roles = roles
        self._keys: KeySet | None = None
        self._asked_s = float("-inf")
        self._asking = asyncio.Lock()

    async def vouched(self, id_token: str, nonce: str) -> Vouched:
        """Whom a token speaks of. nonce: what the sign-in was begun with.

        Raises `Refusal` (sign_in_failed, role_missing, provider_unavailable).
        """
        claims = await self._claims(id_token)
        if not isinstance(claims.get("nonce"), str) or not hmac.compare_digest(claims["nonce"], nonce):
            raise _failed("it answers another sign-in than this one")
        name = claims.get(self._name_claim)
        if not isinstance(name, str):
            raise _failed(f"it has no claim {self._name_claim!r} with a name; STEELSIGHT_OIDC_NAME_CLAIM says which")
        groups = list(_within(claims, self._role_claim))
        held = {self._roles[each] for each in groups if each in self._roles}
        if not held:
            raise Refusal(
                ServiceCode.ROLE_MISSING,
                f"the provider knows {name!r}, but none of the groups in {self._role_claim!r} has a role here; "
                "STEELSIGHT_OIDC_ROLES says which have",
            )
        return Vouched(name, f"{self.issuer} {claims['sub']}", max(held, key=list(Role).index))

    async def _claims(self, id_token: str) -> dict[str, Any]:
        try:
            for fresh in (False, True):
                try:
                    token = jwt.decode(id_token, await self._key_set(fresh), algorithms=list(ALGORITHMS))
                    break
                # What it says when no key of the set fits: the provider may have new ones.
                except (JoseError, ValueError):
                    if fresh or time.monotonic() - self._asked_s < ASKED_AGAIN_S:
                        raise
            jwt.JWTClaimsRegistry(
                leeway=CLOCKS_APART_S,
                iss={"essential": True, "value": self.issuer},
                sub={"essential": True},
                aud={"essential": True, "value": self.client_id},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError, TypeError) as error:
            raise _failed(f"{type(error).__name__}") from None
        claims: dict[str, Any] = token.claims
        # A token for several clients names the one that asked for it: OpenID Connect Core, 3.1.3.7.
        if claims.get("azp", self.client_id) != self.client_id or (
            isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims
        ):
            raise _failed("it was made for another client")
        if not isinstance(claims["sub"], str) or not time.time() - claims["iat"] <= YOUNG_S:
            raise _failed("it is not of this sign-in, but older")
        return claims

    async def _key_set(self, fresh: bool) -> KeySet:
        async with self._asking:
            age_s = time.monotonic() - self._asked_s
            if self._keys is None or age_s > KEYS_HOLD_S or (fresh and age_s > ASKED_AGAIN_S):
                self._keys = await fetched_keys(self.issuer)
                self._asked_s = time.monotonic()
            return self._keys


def provider_of(settings: Settings) -> Provider | None:
    """The one that the settings name. Raises ValueError."""
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_client_id is None:
        raise ValueError("STEELSIGHT_OIDC_ISSUER is set and STEELSIGHT_OIDC_CLIENT_ID is not; set both, or neither")
    require_sealed(settings.oidc_issuer)
    roles = dict(each.split("=") for each in settings.oidc_roles.split(","))
    return Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_name_claim,
        settings.oidc_role_claim,
        {group: Role(role) for group, role in roles.items()},
    )


def require_sealed(address: str) -> None:
    """Nobody on the way may write what the provider says. Raises ValueError.

    >>> require_sealed("http://provider.plant")
    Traceback (most recent call last):
    ValueError: the provider's address http://provider.plant must begin with https://, but on this machine
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"the provider's address {address} must begin with https://, but on this machine")


async def described(issuer: str, http: httpx.AsyncClient) -> dict[str, Any]:
    """What the provider says of itself. Raises `Refusal` (provider_unavailable)."""
    told = await _fetched(http, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if told.get("issuer") != issuer:
        raise _absent(f"it calls itself {str(told.get('issuer'))[:80]!r}")
    return told


async def fetched_keys(issuer: str) -> KeySet:
    """The keys that a provider signs with. Raises `Refusal` (provider_unavailable)."""
    async with client() as http:
        where = (await described(issuer, http)).get("jwks_uri")
        try:
            if not isinstance(where, str):
                raise ValueError
            require_sealed(where)
            return KeySet.import_key_set(await _fetched(http, where))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError):
            raise _absent("its keys cannot be read") from None


def client() -> httpx.AsyncClient:
    """What a provider is asked with: it has seconds to answer, and leads nowhere else."""
    return httpx.AsyncClient(timeout=ANSWER_S, follow_redirects=False, trust_env=False)


async def _fetched(http: httpx.AsyncClient, address: str) -> dict[str, Any]:
    try:
        answer = await http.get(address)
        if not answer.is_success or len(answer.content) > MOST_BYTES:
            raise _absent(f"it answered {answer.status_code}")
        told = answer.json()
    except httpx.TransportError as error:
        raise _absent(f"it does not answer ({type(error).__name__})") from error
    except ValueError as error:
        raise _absent("what it answered is no JSON") from error
    if not isinstance(told, dict):
        raise _absent("what it answered is no JSON object")
    return told


def _within(claims: Mapping[str, Any], name: str) -> Iterable[str]:
    found: Any = claims
    for part in [name] if name in claims else name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found]
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _failed(why: str) -> Refusal:
    return Refusal(ServiceCode.SIGN_IN_FAILED, f"the provider's ID token is not accepted: {why}; sign in again")


def _absent(why: str) -> Refusal:
    return Refusal(ServiceCode.PROVIDER_UNAVAILABLE, f"the OpenID provider cannot be used: {why}")
