"""The API's own pages, /docs and /redoc, served whole from this machine."""

import hashlib
import re
from base64 import b64encode
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from app.access.declared import OPEN

OPENAPI_URL = "/openapi.json"
ASSETS_URL = "/docs/assets"
ASSETS = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")

# The bundles name addresses outside (a logo, a validator): the browser is told to load nothing from there. Scripts run
# by their address here or by the hash of what FastAPI writes into the page. Redoc makes its styles in the browser,
# without a nonce: it alone may.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self'{styles}; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

router = APIRouter(include_in_schema=False, dependencies=[OPEN])


@router.get(OPENAPI_URL)
async def description(request: Request) -> JSONResponse:
    """The API for programs to read."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def swagger() -> HTMLResponse:
    """Swagger UI: read the API, and try it."""
    return _closed(
        get_swagger_ui_html(
            openapi_url=OPENAPI_URL,
            title="Steelsight API",
            swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_URL}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Redoc: the API as one page to read."""
    return _closed(
        get_redoc_html(
            openapi_url=OPENAPI_URL,
            title="Steelsight API",
            redoc_js_url=f"{ASSETS_URL}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS_URL}/favicon.png",
            with_google_fonts=False,
        ),
        styles=" 'unsafe-inline'",
    )


def _closed(page: HTMLResponse, styles: str = "") -> HTMLResponse:
    scripts = INLINE_SCRIPT.findall(page.body)
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(each).digest()).decode()}'" for each in scripts)
    page.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.format(hashes=hashes, styles=styles)
    page.headers["X-Content-Type-Options"] = "nosniff"
    page.headers["Referrer-Policy"] = "no-referrer"
    return page
