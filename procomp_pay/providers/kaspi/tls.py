"""Mutual TLS with Kaspi: client certificate, key and certificate authority, from files.

Kaspi's certificates are bound to a BIN, are valid for five years, and are replaced by changing the files. The
server's certificate is always verified; Kaspi has an authority of its own, which ``KASPI_CA_CERT`` names.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

#: Days before the expiry from which operators are warned.
WARN_DAYS = 60


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The paths of the PEM files.

    :param cert: PEM, our certificate first; ``None`` for a scheme without one.
    :param key: PEM; ``None`` if it is in ``cert``.
    :param ca: PEM, the only authority that is trusted; ``None`` for the system's.
    """

    cert: Path | None = None
    key: Path | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)


@dataclass(frozen=True, slots=True)
class CertificateLife:
    """The remaining validity of our certificate.

    :param days_left: whole days; negative after the expiry.
    """

    ends_at: datetime
    days_left: int

    @property
    def is_short(self) -> bool:
        return self.days_left < WARN_DAYS

    @property
    def sentence(self) -> str:
        """Return a sentence for the operator."""
        if self.days_left < 0:
            return f"Kaspi's client certificate expired on {self.ends_at:%Y-%m-%d}"
        return f"Kaspi's client certificate expires on {self.ends_at:%Y-%m-%d}, in {self.days_left} days"


def certificate_life(cert: Path, now: datetime) -> CertificateLife:
    """Return the remaining validity of a certificate.

    :raises ConfigurationError: the file cannot be read, or contains no certificate.
    """
    ends = _first_certificate(cert).not_valid_after_utc
    return CertificateLife(ends, (ends - now).days)


def make_context(files: TlsFiles, now: datetime) -> ssl.SSLContext:
    """Return a TLS context with our client certificate that verifies the server.

    :raises ConfigurationError: a file cannot be read or has the wrong content, the password is wrong, the key
        belongs to another certificate, or the certificate is not valid now.
    """
    context = _trusting(files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert is None:
        return context
    ours = _first_certificate(files.cert)
    _check_dates(ours, now)
    key_file = files.key or files.cert
    if files.key is None and b"PRIVATE KEY" not in _read(key_file, "KASPI_CLIENT_CERT"):
        raise ConfigurationError(
            f"{key_file} contains the certificate, but not its key", next_step="set KASPI_CLIENT_KEY"
        )
    key = _private_key(key_file, files.password)
    if key.public_key() != ours.public_key():
        raise ConfigurationError(
            f"The key in {key_file} is not the key of the certificate in {files.cert}",
            next_step="KASPI_CLIENT_CERT and KASPI_CLIENT_KEY must belong together",
        )
    secret = files.password or ""
    try:
        # always pass a password: OpenSSL would ask for one on the terminal
        context.load_cert_chain(files.cert, key_file, password=lambda: secret)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"Kaspi's client certificate cannot be used: {error}",
            next_step="check KASPI_CLIENT_CERT and KASPI_CLIENT_KEY",
        ) from error
    return context


def _trusting(ca: Path | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    text = _read(ca, "KASPI_CA_CERT")
    try:
        return ssl.create_default_context(cadata=text.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{ca} contains no certificate of an authority",
            next_step="set KASPI_CA_CERT to Kaspi's root certificate, in PEM form",
        ) from error


def _first_certificate(path: Path) -> x509.Certificate:
    from cryptography import x509

    data = _read(path, "KASPI_CLIENT_CERT")
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise ConfigurationError(
            f"{path} contains no certificate in PEM form",
            next_step="set KASPI_CLIENT_CERT to a file that contains -----BEGIN CERTIFICATE-----",
        ) from error


def _check_dates(ours: x509.Certificate, now: datetime) -> None:
    if now > ours.not_valid_after_utc:
        raise ConfigurationError(
            f"Kaspi's client certificate expired on {ours.not_valid_after_utc:%Y-%m-%d}",
            next_step="ask Kaspi for a new one and replace the files; no restart is needed",
        )
    if now < ours.not_valid_before_utc:
        raise ConfigurationError(
            f"Kaspi's client certificate is not valid before {ours.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            next_step="check this computer's clock, or use the previous certificate until then",
        )


def _private_key(path: Path, password: str | None) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path, "KASPI_CLIENT_KEY")
    try:
        return load_pem_private_key(data, password.encode() if password else None)
    except TypeError as error:
        if password:  # the key needs none
            return load_pem_private_key(data, None)
        raise ConfigurationError(
            f"The key in {path} is protected by a password", next_step="set KASPI_CLIENT_KEY_PASSWORD"
        ) from error
    except ValueError as error:
        if password and b"ENCRYPTED" in data:
            raise ConfigurationError(
                f"The password for the key in {path} is wrong", next_step="check KASPI_CLIENT_KEY_PASSWORD"
            ) from error
        raise ConfigurationError(
            f"{path} contains no private key in PEM form",
            next_step="set KASPI_CLIENT_KEY to a file that contains a PRIVATE KEY",
        ) from error


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be read: {why}", next_step=f"check {setting}") from error


def utc_now() -> datetime:
    return datetime.now(UTC)
