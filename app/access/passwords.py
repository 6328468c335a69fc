"""Passwords: which are accepted, how they are kept (argon2id), and how long it takes to try one."""

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.access.watched import AccessError

# NIST SP 800-63B: length is what makes guessing hopeless, rules about characters do not. Past the longest a password
# costs only time.
SHORTEST, LONGEST = 12, 256
FEWEST_KINDS = 5

# 64 MiB and some 50 ms for each attempt: RFC 9106, the second choice of parameters.
_HASHER = PasswordHasher()
# Tried where there is no such person, or no password: it takes as long, and nothing matches it. Of a password that was
# drawn and forgotten; written down, for making one at import would cost every start a quarter of a second.
NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$PGbCWS1KZXNCxXNXy2Rx2w$vnZ7NuYz9HGGDFl6GY09Im6GzHKBFST5n81D7cIxh10"


def hashed(password: str, name: str) -> str:
    """What is kept of a new password. Raises `AccessError`: it is too easy to guess."""
    plain = _normal(password)
    if not SHORTEST <= len(plain) <= LONGEST:
        raise AccessError(f"the password has {len(plain)} characters; {SHORTEST} to {LONGEST} are accepted")
    if len(set(plain)) < FEWEST_KINDS:
        raise AccessError(f"the password repeats the same few characters; use {FEWEST_KINDS} different ones at least")
    if len(name) > 2 and name.casefold() in plain.casefold():
        raise AccessError("the password contains the person's name; that is what is tried first")
    return _HASHER.hash(plain)


def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password of which `kept` was kept; None for nobody's takes as long."""
    try:
        return _HASHER.verify(kept or NOBODYS, _normal(password)[: LONGEST + 1]) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def _normal(password: str) -> str:
    # The same letters from two keyboards may be other code points.
    return unicodedata.normalize("NFKC", password)
