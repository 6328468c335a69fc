"""The gate: from a request's headers to who asks, or to the refusal.

Each kind of token plugs in as `Credentials`, told apart by how its tokens begin.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from app.access.principal import ANYBODY, Principal, Scope
from app.access.rates import Rates
from app.complaints import echo
from app.refusals import Refusal, ServiceCode

# At most so often the files are looked at; a revoked key ends within about that.
LOOK_S = 1.0
MISSING = (
    "this server asks for a key: send the header `Authorization: Bearer sk_...` (or `X-API-Key: sk_...`); "
    "`python -m app keys create NAME --scope SCOPE` makes one"
)

Headers = Iterable[tuple[bytes, bytes]]


class Credentials(Protocol):
    """One kind of token, such as the keys."""

    @property
    def prefix(self) -> bytes:
        """What its tokens begin with."""

    @property
    def exist(self) -> bool:
        """Whether anybody was ever given any: then the server is not open. True if nobody can tell."""

    def principal(self, token: bytes) -> Principal:
        """Whose token it is. Raises `Refusal` (key_invalid, keys_unavailable)."""

    def refresh(self) -> None:
        """Look whether something has changed; called from a thread."""


class Gate:
    """Who is let in. mode: the setting `access`. host: the address that the server listens on."""

    def __init__(
        self, mode: Literal["auto", "keys", "open"], host: str, kinds: Sequence[Credentials], rates: Rates
    ) -> None:
        self._kinds = kinds
        self._rates = rates
        self._never_open = mode == "keys" or (mode == "auto" and not is_loopback(host))
        self._always_open = mode == "open"

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        if self._never_open:
            return False
        return self._always_open or not any(kind.exist for kind in self._kinds)

    def admit(self, headers: Headers, needed: Scope) -> Principal:
        """Who asks for something that needs a scope: as `principal`, and one more of their requests.

        Raises also `Refusal` (rate_limited).
        """
        principal = self.principal(headers, needed)
        self.count(principal)
        return principal

    def principal(self, headers: Headers, needed: Scope) -> Principal:
        """Who asks for something that needs a scope.

        Raises `Refusal` (key_missing, key_invalid, scope_missing, cross_site, keys_unavailable).
        """
        if self.open:
            if needed is not Scope.READ and _of_another_site(headers):
                raise Refusal(
                    ServiceCode.CROSS_SITE,
                    "a browser sent this from a page of another site, and this server asks for no key by which to tell "
                    "that somebody wanted it; make a key, or ask from a program",
                )
            return ANYBODY
        principal = self._bearer(headers)
        if needed not in principal.scopes:
            raise Refusal(
                ServiceCode.SCOPE_MISSING,
                f"this needs the scope {needed}; {principal.kind} {principal.name!r} has "
                f"{', '.join(sorted(principal.scopes)) or 'none'}",
            )
        return principal

    def count(self, principal: Principal) -> None:
        """One more request of theirs. Raises `Refusal` (rate_limited)."""
        self._rates.count(principal)

    def still_admits(self, headers: Headers, needed: Scope) -> bool:
        """Whether whoever was let in before would be let in now; this is no further request."""
        try:
            return bool(self.principal(headers, needed))
        except Refusal:
            return False

    def refresh(self) -> None:
        """Look once at what may have changed."""
        for kind in self._kinds:
            kind.refresh()

    async def watch(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.refresh)

    def _bearer(self, headers: Headers) -> Principal:
        """Whose key or session the request carries."""
        token = None
        for name, value in headers:
            if name == b"authorization":
                # Another scheme is another layer's affair, such as a proxy's own password.
                if value[:7].lower() != b"bearer ":
                    continue
                offered = value[7:]
            elif name == b"x-api-key":
                offered = value
            else:
                continue
            if token is not None:
                raise Refusal(ServiceCode.KEY_INVALID, "the request carries two keys; send one")
            token = offered.strip(b" ")
        if token is None:
            raise Refusal(ServiceCode.KEY_MISSING, MISSING)
        for kind in self._kinds:
            if token.startswith(kind.prefix):
                return kind.principal(token)
        raise Refusal(ServiceCode.KEY_INVALID, "the key is not valid: it does not begin as keys of this server do")


def _of_another_site(headers: Headers) -> bool:
    """Whether a browser says so: a page anywhere may have it send things to a server that only this machine reaches."""
    said = {name: value for name, value in headers if name in (b"sec-fetch-site", b"origin", b"host")}
    if site := said.get(b"sec-fetch-site"):
        return site not in (b"same-origin", b"none")
    return b"origin" in said and said[b"origin"].partition(b"://")[2] != said.get(b"host")


def require_camera(principal: Principal, camera_id: str | None) -> None:
    """Whether somebody may send frames that name this camera. Raises `Refusal` (camera_forbidden)."""
    if principal.sends(camera_id):
        return
    named = "names none" if camera_id is None else f"names {echo(camera_id)}"
    own = ", ".join(sorted(map(echo, principal.cameras or ())))
    raise Refusal(
        ServiceCode.CAMERA_FORBIDDEN,
        f"{principal.kind} {principal.name!r} sends frames of {own} alone; the request {named}",
    )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone; a name but `localhost` counts as not.

    >>> [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "line.plant")]
    [True, True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
