"""python -m app dashboard: the operator's desk.

One process, whatever the number of browsers: what a browser shows is kept here.
"""

import argparse
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn

from app.access.caller import CallerError, reach
from app.settings import addresses

if TYPE_CHECKING:
    from app.dashboard.desk import Setup

HOST, PORT, API = "127.0.0.1", 8080, "http://127.0.0.1:8000"
# A browser's connection stays open for good, so that there is nothing to wait for.
CLOSE_WITHIN_S = 2
ASK_S = 2.0
# What the desk is told beside its flags: its key and the provider's secret must not stand in the list of processes.
VARIABLES = ("DESK_KEY", "DESK_URL", "OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
TLS = "STEELSIGHT_DESK_TLS"
PROXIES = "STEELSIGHT_DESK_TRUSTED_PROXIES"
PUBLIC = re.compile(r"https?://[^/?#@\s]+/?")
EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `dashboard` to the commands of `python -m app`."""
    command = commands.add_parser("dashboard", help="the operator's desk, on a running API")
    command.add_argument("--host", metavar="ADDRESS", default=HOST, help=f"Address to listen on; {HOST} unless set.")
    command.add_argument(
        "--port", metavar="N", type=int, default=PORT, help=f"Port; 0 lets the system choose; {PORT} unless set."
    )
    command.add_argument("--api", metavar="URL", default=API, help=f"Where the API is; {API} unless set.")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the desk until SIGTERM or Ctrl-C. Prints its address on stderr."""
    complaint = _complaint(arguments)
    if complaint is not None:
        print(f"error: {complaint}", file=sys.stderr)
        return EXIT_USAGE
    try:
        sealing, proxies = _sealing(os.environ), _proxies(os.environ)
        setup = _setup(arguments, os.environ, sealed=sealing is not None)
    except (ValueError, CallerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    if not setup.alone and (reason := _open_beyond_loopback(setup)):
        print(f"error: {reason}", file=sys.stderr)
        return EXIT_FAULT
    try:
        family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
        listener = socket.create_server((arguments.host, arguments.port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        print(
            f"error: cannot listen on {arguments.host} port {arguments.port}: {reason}; choose another with --port",
            file=sys.stderr,
        )
        return EXIT_FAULT
    with suppress(KeyboardInterrupt):
        _serve(arguments, setup, listener, sealing, proxies)
    return EXIT_DONE


def _serve(
    arguments: argparse.Namespace,
    setup: "Setup",
    listener: socket.socket,
    sealing: ssl.SSLContext | None,
    proxies: str,
) -> None:
    # uvicorn raises the signals that it took again once it is done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # NiceGUI and what it brings take a second to import, which no other command should.
    from app import logs  # noqa: PLC0415
    from app.dashboard.desk import create_desk  # noqa: PLC0415

    logs.configure("info")
    desk = create_desk(setup)
    host, port = listener.getsockname()[:2]
    scheme = "http" if sealing is None else "https"
    print(f"Steelsight desk  {scheme}://{f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr)
    print(f"on the API at    {arguments.api}", file=sys.stderr, flush=True)
    config = uvicorn.Config(
        desk,
        lifespan="on",
        log_config=None,
        access_log=False,
        # Whoever connects is the browser, unless it is a proxy that was named: no other header may say otherwise.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        ssl_context_factory=None if sealing is None else lambda *_: sealing,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_WITHIN_S,
    )
    uvicorn.Server(config).run([listener])


def _sealing(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """What the desk itself encrypts with, if it does. Raises ValueError."""
    certificate, key = (environ.get(f"{TLS}_{name}") for name in ("CERTIFICATE", "KEY"))
    if not certificate and not key:
        return None
    # It takes 30 ms to import, and every other command comes past here.
    from app.tls import context_of  # noqa: PLC0415

    return context_of(Path(certificate) if certificate else None, Path(key) if key else None, TLS)


def _proxies(environ: Mapping[str, str]) -> str:
    """Addresses and networks of proxies whose word counts. Raises ValueError."""
    try:
        return addresses(environ.get(PROXIES, ""))
    except ValueError as error:
        raise ValueError(f"{PROXIES}: {error}") from None


def _setup(arguments: argparse.Namespace, environ: Mapping[str, str], *, sealed: bool) -> "Setup":
    """What flags and variables say. Raises ValueError and `CallerError`."""
    from app.access.gate import is_loopback  # noqa: PLC0415
    from app.access.openid import require_sealed  # noqa: PLC0415
    from app.dashboard.desk import Setup  # noqa: PLC0415
    from app.dashboard.openid import OpenId  # noqa: PLC0415

    said = {name: environ.get(f"STEELSIGHT_{name}") or None for name in VARIABLES}
    public, issuer, client_id = said["DESK_URL"], said["OIDC_ISSUER"], said["OIDC_CLIENT_ID"]
    if public is not None and not PUBLIC.fullmatch(public):
        raise ValueError(f"STEELSIGHT_DESK_URL: received {public!r}; expected an address such as https://desk.plant")
    if (issuer is None) != (client_id is None):
        raise ValueError("set both STEELSIGHT_OIDC_ISSUER and STEELSIGHT_OIDC_CLIENT_ID, or neither")
    openid = None
    if issuer is not None and client_id is not None:
        require_sealed(issuer)
        openid = OpenId(issuer, client_id, said["OIDC_CLIENT_SECRET"])
    alone = is_loopback(arguments.host)
    verify = reach(environ, "STEELSIGHT_DESK_KEY")["verify"]
    return Setup(arguments.api.rstrip("/"), alone, said["DESK_KEY"], public, sealed, openid, verify)


def _open_beyond_loopback(setup: "Setup") -> str | None:
    """Why the desk may not be reached from elsewhere, if the API answers and is open. Asked again of every visitor."""
    import httpx  # noqa: PLC0415

    from app.dashboard.door import OPEN_BEYOND_LOOPBACK  # noqa: PLC0415

    try:
        answer = httpx.get(f"{setup.api_url}/v1/sessions", timeout=ASK_S, trust_env=False, verify=setup.verify)
        return OPEN_BEYOND_LOOPBACK if answer.is_success and answer.json()["kind"] == "open" else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def _complaint(arguments: argparse.Namespace) -> str | None:
    try:
        address = urlsplit(arguments.api)
        usable = address.scheme in {"http", "https"} and address.hostname and (address.port or 1)
    except ValueError:
        usable = None
    if not usable or address.path.strip("/") or address.query:
        return f"--api: received {arguments.api!r}; expected an address such as {API}"
    if not 0 <= arguments.port <= 65535:
        return f"--port: received {arguments.port}; expected 0 to 65535"
    return None
