"""TLS for the sandbox: an authority, and a server's and a client's certificate, all in one folder."""

from __future__ import annotations

import os
import secrets
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Kaspi's certificates live five years.
LIFE = timedelta(days=5 * 365)
#: Clocks differ a little.
_EARLIER = timedelta(minutes=5)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `name.crt` and `name.key` (mode 0600). Return both paths."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        paths[0].write_bytes(self.certificate)
        handle = os.open(paths[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self.key)
        return paths


class Authority:
    """A certificate authority, as the bank's."""

    def __init__(self, name: str = "Sandbox root, no real bank") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        made = _builder(self._name, self._name, self._key.public_key(), datetime.now(UTC) - _EARLIER, LIFE)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = made.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Return the authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, host: str = "127.0.0.1") -> Issued:
        """Issue a certificate for a server at a loopback address."""
        names = [x509.DNSName("localhost")] if host == "localhost" else [x509.IPAddress(ip_address(host))]
        return self._issue("sandbox", ExtendedKeyUsageOID.SERVER_AUTH, names=names)

    def client(
        self,
        name: str = "ProComp sandbox client",
        *,
        password: str | None = None,
        begins: datetime | None = None,
        life: timedelta = LIFE,
    ) -> Issued:
        """Issue a certificate for a client, its key encrypted with `password` if one is given."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, password=password, begins=begins, life=life)

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        *,
        names: list[x509.DNSName] | list[x509.IPAddress] | None = None,
        password: str | None = None,
        begins: datetime | None = None,
        life: timedelta = LIFE,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        begins = begins or datetime.now(UTC) - _EARLIER
        made = _builder(_name(name), self._name, key.public_key(), begins, life)
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            locked = serialization.BestAvailableEncryption(password.encode())
        return Issued(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked),
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
    )


@dataclass(frozen=True)
class TlsFolder:
    """The files that a client needs: the authority, and a client certificate with an encrypted key."""

    ca: Path
    client_cert: Path
    client_key: Path
    password: str = field(repr=False)
    server: ssl.SSLContext = field(repr=False)
    authority: Authority = field(repr=False)


def make_folder(folder: Path, host: str) -> TlsFolder:
    """Create all files anew in `folder`, which becomes readable for this user alone. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, password = Authority(), secrets.token_urlsafe(12)
    ca = folder / "ca.crt"
    ca.write_bytes(authority.pem)
    cert, key = authority.client(password=password).write(folder, "client")
    return TlsFolder(ca, cert, key, password, server_context(authority, folder, host), authority)


def server_context(authority: Authority, folder: Path, host: str) -> ssl.SSLContext:
    """Return a TLS 1.2 context that asks each client for a certificate of this authority, as Kaspi does.

    It is not demanded in the handshake, since the basic scheme has none: the API's own check refuses its
    absence (-10000) where the scheme needs it. One of another authority ends the handshake.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.minimum_version = serving.maximum_version = ssl.TLSVersion.TLSv1_2
    serving.load_verify_locations(cadata=authority.pem.decode("ascii"))
    serving.verify_mode = ssl.CERT_OPTIONAL
    serving.load_cert_chain(*authority.server(host).write(folder, "server"))
    return serving
