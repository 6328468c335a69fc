"""python -m app.health [ADDRESS]: does what listens there answer? For a container's HEALTHCHECK.

A program beside the commands of `python -m app`, which take a second of the processor to import: this one is started
every few seconds, next to the frames.

Exit code 0 it answers, 1 it does not, 2 wrong usage.
"""

import argparse
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus

# Unlike urllib it asks no proxy, whatever the environment names: those are for other machines.
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

PATH = "/healthz"
# For each of connecting, sealing and the answer; the Dockerfile bounds the whole.
ASK_S = 2.0
EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2


def api_address(environ: Mapping[str, str]) -> str:
    """Where `python -m app serve` listens by its variables, of which an empty one counts as not set.

    On Linux every interface's address, 0.0.0.0 or ::, leads to this machine.

    >>> api_address({"STEELSIGHT_PORT": ""})
    'http://127.0.0.1:8000'
    >>> api_address({"STEELSIGHT_HOST": "::", "STEELSIGHT_TLS_CERTIFICATE": "chain.pem"})
    'https://[::]:8000'
    """
    host = environ.get("STEELSIGHT_HOST") or "127.0.0.1"
    port = environ.get("STEELSIGHT_PORT") or "8000"
    scheme = "https" if environ.get("STEELSIGHT_TLS_CERTIFICATE") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def status(address: str) -> int:
    """Of the answer to GET /healthz. Raises OSError, HTTPException; ValueError if it is no address."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        # Whose certificate it is does not matter: the machine asks itself, by a name that none is made out to.
        sealing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        sealing.check_hostname, sealing.verify_mode = False, ssl.CERT_NONE
        connection: HTTPConnection = HTTPSConnection(parts.netloc, timeout=ASK_S, context=sealing)
    else:
        connection = HTTPConnection(parts.netloc, timeout=ASK_S)
    try:
        connection.request("GET", PATH, headers={"Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Ask once; why it does not answer is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m app.health", description="Is the API, or the desk, up?")
    parser.add_argument(
        "address", metavar="ADDRESS", nargs="?", help="the desk's, or the API's where its variables do not tell"
    )
    address = parser.parse_args(argv).address or api_address(os.environ)
    if not address.startswith(("http://", "https://")):
        print(f"error: received {address!r}; expected an address such as http://127.0.0.1:8080", file=sys.stderr)
        return EXIT_USAGE
    try:
        answer = status(address)
    except (OSError, HTTPException, ValueError) as error:
        print(f"error: {address} does not answer: {error}", file=sys.stderr)
        return EXIT_FAULT
    if answer != HTTPStatus.OK:
        print(f"error: {address} answers {answer}", file=sys.stderr)
        return EXIT_FAULT
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
