"""What a client of ours brings with it: a key, and whom it believes to be the server.

Both come from the environment, where no list of processes shows them: `STEELSIGHT_KEY`, and `STEELSIGHT_CA`, a file of
certificates for a plant that is its own authority.
"""

import ssl
from collections.abc import Mapping
from typing import TypedDict

KEY, CA = "STEELSIGHT_KEY", "STEELSIGHT_CA"


class CallerError(Exception):
    """What is wrong with what a client is to bring, in one line."""


class Reach(TypedDict):
    """Arguments of an httpx client."""

    headers: dict[str, str]
    verify: ssl.SSLContext | bool


def reach(environ: Mapping[str, str], key: str = KEY) -> Reach:
    """key: the name of the variable that holds it. Raises `CallerError`.

    >>> reach({"STEELSIGHT_KEY": "sk_1_2"})
    {'headers': {'Authorization': 'Bearer sk_1_2'}, 'verify': True}
    """
    token, authorities = environ.get(key), environ.get(CA)
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise CallerError(f"{key} holds no key: expected sk_, 16 hexadecimal digits, _ and 64 more")
    try:
        verify = ssl.create_default_context(cafile=authorities) if authorities else True
    except OSError as error:
        raise CallerError(f"{CA}: {authorities} holds no certificates in PEM: {error.strerror or error}") from error
    return {"headers": {"Authorization": f"Bearer {token}"} if token else {}, "verify": verify}
