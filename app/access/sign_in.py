"""Signing in: a password or an OpenID provider's word -> a session's token."""

import asyncio
from pathlib import Path

import structlog

from app.access import passwords
from app.access.openid import Provider
from app.access.people import Person, vouched_for
from app.access.sessions import Sessions
from app.access.throttle import Throttle
from app.access.watched import AccessError
from app.refusals import Refusal, ServiceCode

# Each takes 64 MiB: more at once would take the memory and the cores that inspections need.
AT_ONCE = 2
# Seconds of work; whoever comes then is not kept waiting for longer.
WAITING = 32
# One sentence for all reasons: which names there are is nobody's business.
FAILED = "name and password do not belong together, or the person is not let in any more"

log = structlog.get_logger("steelsight.access")


class SignIn:
    """What is needed to let people in. provider: None where none is configured."""

    def __init__(self, home: Path, sessions: Sessions, provider: Provider | None) -> None:
        self._home = home
        self.sessions = sessions
        self.provider = provider
        self._throttle = Throttle()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def with_password(self, name: str, password: str, address: str) -> str:
        """A token. address: from where the person comes. Raises `Refusal` (sign_in_failed, rate_limited)."""
        if self._waiting >= WAITING:
            raise Refusal(ServiceCode.RATE_LIMITED, "too many people sign in at this moment; wait a moment", 2)
        self._waiting += 1
        try:
            async with self._free:
                # Here, where only a few are at once: a thousand requests in the same moment are counted one by one.
                self._throttle.require(name, address)
                person = self.sessions.person(name)
                kept = None if person is None or person.disabled else person.password
                right = await asyncio.to_thread(passwords.matches, kept, password)
                if person is None or not right:
                    self._throttle.failed(name, address)
                    # A name that is nobody's may be a password, typed into the wrong field.
                    log.warning("sign_in_failed", person=name if person else None, client=address)
                    raise Refusal(ServiceCode.SIGN_IN_FAILED, FAILED)
        finally:
            self._waiting -= 1
        self._throttle.succeeded(name, address)
        return await self._begun(person, address)

    async def with_id_token(self, id_token: str, nonce: str, address: str) -> str:
        """A token. Raises `Refusal` (sign_in_failed, role_missing, provider_unavailable, not_found)."""
        if self.provider is None:
            raise Refusal(ServiceCode.NOT_FOUND, "this server knows no OpenID provider; set STEELSIGHT_OIDC_ISSUER")
        told = await self.provider.vouched(id_token, nonce)
        try:
            person = await asyncio.to_thread(vouched_for, self._home, told.name, told.subject, told.role)
        except AccessError as error:
            raise Refusal(ServiceCode.SIGN_IN_FAILED, str(error)) from error
        if person.disabled:
            log.warning("sign_in_failed", person=person.name, client=address)
            raise Refusal(ServiceCode.SIGN_IN_FAILED, f"{person.name!r} is not let in any more")
        return await self._begun(person, address)

    async def _begun(self, person: Person, address: str) -> str:
        try:
            token = await asyncio.to_thread(self.sessions.begin, person)
        except AccessError as error:
            raise Refusal(ServiceCode.KEYS_UNAVAILABLE, f"no session can begin: {error}") from error
        log.info("signed_in", person=person.name, role=person.role, client=address)
        return token
