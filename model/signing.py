"""Who vouches for a version: an Ed25519 signature (RFC 8032) over its manifest, which holds every other file's hash.

    manifest.sig    beside manifest.json, one line: ed25519 <key id> <signature, base64>

Private and public keys are PEM files (PKCS 8, SubjectPublicKeyInfo), as OpenSSL writes them. Where public keys are
configured, nothing of a version is read before one of them has vouched for its manifest.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import ErrorCode, SteelsightError
from model.files import exclusive, replace_text

SIGNATURE = "manifest.sig"
PUBLIC_KEYS = "STEELSIGHT_MODEL_PUBLIC_KEYS"
SIGNING_KEY = "STEELSIGHT_MODEL_SIGNING_KEY"
# In front of what is signed: a signature that the key made of anything else, for another purpose, is none of a model.
PURPOSE = b"steelsight model manifest\n"
# A PEM file of either key has about 120 bytes, a signature's line 113.
MAX_KEY_BYTES = 4096
MAX_SIGNATURE_BYTES = 1024

# The 32 bytes of a public key.
PublicKey = bytes


def key_id(key: PublicKey) -> str:
    """What people call a key: the first 16 hexadecimal digits of its SHA-256.

    >>> key_id(bytes(32))
    '66687aadf862bd77'
    """
    return hashlib.sha256(key).hexdigest()[:16]


def public_keys(named: str | None) -> tuple[PublicKey, ...]:
    """The keys in the PEM files that are named, separated by commas; none where `named` is empty or None.

    Raises `SteelsightError` (signing_key_invalid) for a file that is not there or holds another key, and where commas
    and spaces name none: a server that was told to ask for signatures must not go on without.
    """
    if not named:
        return ()
    files = [Path(name.strip()) for name in named.split(",") if name.strip()]
    if not files:
        raise SteelsightError(
            ErrorCode.SIGNING_KEY_INVALID,
            f"received {named!r} for the files of public keys, which names none; name at least one, or nothing at all "
            "where no signature is to be asked for",
        )
    return tuple(map(_public_key, files))


def configured_keys(environ: Mapping[str, str] = os.environ) -> tuple[PublicKey, ...]:
    """The public keys that the environment names. Raises as `public_keys`."""
    return public_keys(environ.get(PUBLIC_KEYS))


def keygen(path: Path) -> PublicKey:
    """Write a new private key, for its owner alone, and its public key beside it with `.pub` after its name.

    Raises `SteelsightError` (signing_key_invalid) for a path without a file's name, and where either file is there
    already: a key is never replaced.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.name:
        raise _key_invalid(path, "it has no name; say what the file is to be called, such as plant.pem")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = public_path(path)
    for file in (path, beside):
        if os.path.lexists(file):
            raise _key_invalid(file, "it is there already, and a key is never replaced; name another file")
    _write_new(path, private, 0o600)
    _write_new(beside, public, 0o644)
    return _raw(key.public_key())


def public_path(path: Path) -> Path:
    """Where the public key of a private key's file lies.

    >>> public_path(Path("keys/plant.pem")).as_posix()
    'keys/plant.pem.pub'
    """
    return path.with_name(path.name + ".pub")


def signing_key(path: Path) -> Any:
    """The private key in a PEM file that belongs to us and that nobody else may read.

    Raises `SteelsightError` (signing_key_invalid).
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path, private=True)
    try:
        key = load_pem_private_key(content, password=None)
    # A wrong file, an encrypted key and a kind that the library does not know each have their own exception.
    except Exception as error:
        raise _key_invalid(path, "it is not a private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _key_invalid(path, "it is a private key of another kind than Ed25519")
    return key


def configured_signing_key(environ: Mapping[str, str] = os.environ) -> Any | None:
    """The private key that the environment names the file of; None if it names none. Raises as `signing_key`."""
    named = environ.get(SIGNING_KEY)
    return signing_key(Path(named)) if named else None


def sign(folder: Path, manifest: bytes, key: Any) -> PublicKey:
    """Write the signature beside the manifest of those bytes; one that is there is replaced. Returns the public key."""
    public = _raw(key.public_key())
    signature = base64.b64encode(key.sign(PURPOSE + manifest)).decode()
    line = f"ed25519 {key_id(public)} {signature}\n"
    # Not within the version: what a killed process left there would be a file that its manifest does not list. One name
    # for all who sign it, so that the next one puts its own in place of what was left.
    beside = folder.with_name(f".{folder.name}.{SIGNATURE}")
    with exclusive(folder.with_name(".signing.lock")):
        replace_text(folder / SIGNATURE, line, beside=beside)
    return public


def vouched(manifest: bytes, line: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    """The key that has signed the manifest. Raises ValueError, in words for people, if none of them has."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        kind, named, encoded = line.decode("ascii").split()
        signature = base64.b64decode(encoded, validate=True)
    except (UnicodeDecodeError, ValueError, binascii.Error):
        kind, named, encoded, signature = "", "", "", b""
    # The last character has bits that say nothing: only one way of writing a signature is one.
    if kind != "ed25519" or len(signature) != 64 or base64.b64encode(signature).decode() != encoded:
        raise ValueError(f"its {SIGNATURE} is not a line `ed25519 KEY SIGNATURE`")
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, PURPOSE + manifest)
        except InvalidSignature:
            continue
        return key
    if named in map(key_id, keys):
        raise ValueError(f"its {SIGNATURE} is not that of its manifest: one of them was changed after signing")
    # What the line says of its key is nobody's word yet: only what looks like an id is repeated.
    whose = named if len(named) == 16 and named.isalnum() else "another key"
    raise ValueError(f"it is signed by {whose}, and the keys trusted here are {', '.join(map(key_id, keys))}")


def _public_key(path: Path) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    try:
        key = load_pem_public_key(content)
    except Exception as error:
        raise _key_invalid(path, "it is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _key_invalid(path, "it is a public key of another kind than Ed25519")
    return _raw(key)


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _key_invalid(path, f"it cannot be read ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _key_invalid(path, "it is not a plain file")
        if status.st_size > MAX_KEY_BYTES:
            raise _key_invalid(path, f"it has {status.st_size} bytes, and a key's file at most {MAX_KEY_BYTES}")
        if private and status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise _key_invalid(path, f"others may use it (mode {mode:04o}); run `chmod 600 {path}`")
        if private and status.st_uid != os.geteuid():
            raise _key_invalid(path, "it belongs to another user; a private key belongs to whoever signs with it")
        return os.read(descriptor, MAX_KEY_BYTES + 1)
    finally:
        os.close(descriptor)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _raw(key: Any) -> PublicKey:
    return bytes(key.public_bytes_raw())


def _key_invalid(path: Path, reason: str) -> SteelsightError:
    return SteelsightError(ErrorCode.SIGNING_KEY_INVALID, f"key file {path} is refused: {reason}")
