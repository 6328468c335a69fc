"""TLS by certificate files: version 1.2 at least; what is wrong with the files is found before anyone connects."""

import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509


class TlsError(ValueError):
    """Why the files cannot be used, in one line."""


def context_of(certificate: Path | None, key: Path | None, variables: str) -> ssl.SSLContext | None:
    """What a server encrypts with; None where nothing is set. variables: what their names begin with.

    Raises `TlsError`.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("CERTIFICATE", "KEY") if key is None else ("KEY", "CERTIFICATE")
        raise TlsError(f"{variables}_{given} is set and {variables}_{missing} is not; both files are needed")
    return context(certificate, key)


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server encrypts with. certificate: its own, then those that lead to the authority, in PEM.

    Raises `TlsError`.
    """
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsError(f"{path} cannot be read: {error.strerror}") from error
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])

    def locked() -> str:
        raise TlsError(f"{key} is locked by a password; give the server one that is not, readable for it alone")

    try:
        made.load_cert_chain(certificate, key, locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{key} is not the key of {certificate}") from error
        raise TlsError(
            f"{certificate} and {key} are no certificate and key in PEM (-----BEGIN ...): {error.reason or error}"
        ) from error
    return made


def ends_at(certificate: Path) -> datetime:
    """When a certificate that `context` took ends, in UTC."""
    return x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
