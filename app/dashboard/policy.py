"""What a browser may do with the desk's answers: content security policies, and the nonces of the pages' own scripts.

NiceGUI writes scripts and styles into its pages. Each gets the nonce of its answer where NiceGUI's template is read,
before any value stands in it: what a page is filled with never carries one.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from markupsafe import Markup
from nicegui.client import templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Where an answer's nonce stands in its request's scope.
NONCE = "csp_nonce"
# What NiceGUI's pages say of themselves.
PAGE_MARK = b"x-nicegui-content"
# NiceGUI evaluates handlers and Vue compiles templates in the browser: unsafe-eval. Nothing inline runs without the
# nonce, nothing at all may come from another address, and no other page may put this one in a frame.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'nonce-{nonce}'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Of everything that is no page: a browser that opens it by itself runs and loads nothing.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    # Not no-referrer: a browser then keeps a form's origin to itself too, by which the gate knows the desk's own.
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
# In NiceGUI's template: what is found -> what stands there instead.
TAG = ' nonce="{{ request.scope.csp_nonce }}"'
REPLACED: Mapping[str, str] = {
    "<script": f"<script{TAG}",
    "<style": f"<style{TAG}",
    # Styles that it adds later, of pages that say `ui.add_css`.
    'document.createElement("style"), {': 'document.createElement("style"), { nonce: "{{ request.scope.csp_nonce }}",',
    # The styles of its components are in a value, whose first tag they are.
    "{{ body_html | safe }}": "{{ body_html | with_nonce(request.scope.csp_nonce) }}",
    # An attribute would have to be allowed for all.
    'style="display: none"': "hidden",
}


class Guarded:
    """Adds the policy and `HEADERS` to every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        nonce = scope[NONCE] = secrets.token_urlsafe(18)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                policy = PAGE_POLICY.format(nonce=nonce) if PAGE_MARK in given else POLICY
                added = {**HEADERS, b"content-security-policy": policy.encode()}
                message["headers"] = [*message["headers"], *(each for each in added.items() if each[0] not in given)]
            await send(message)

        await self.app(scope, receive, guarded)


class NonceLoader(jinja2.BaseLoader):
    """NiceGUI's templates, with nonces."""

    def __init__(self, inner: jinja2.BaseLoader) -> None:
        self._inner = inner

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """The template. Raises `LookupError` where NiceGUI's own is no longer the one that this was written for."""
        source, name, fresh = self._inner.get_source(environment, template)
        for found, instead in REPLACED.items():
            if found not in source:
                raise LookupError(f"NiceGUI's {template} has no {found!r} any more; see app/dashboard/policy.py")
            source = source.replace(found, instead)
        return source, name, fresh


def give_nonces() -> None:
    """From here on NiceGUI's pages carry them. Once in a process."""
    environment: Any = templates.env
    environment.loader = NonceLoader(environment.loader)
    environment.filters["with_nonce"] = with_nonce


def with_nonce(html: str, nonce: str) -> Markup:
    """The first style of it, which is the framework's, may be applied.

    >>> with_nonce("<style>a</style><style>b</style>", "n")
    Markup('<style nonce="n">a</style><style>b</style>')
    """
    return Markup(str(html).replace("<style>", f'<style nonce="{nonce}">', 1))  # noqa: S704 - it was marked safe there
