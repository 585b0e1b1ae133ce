"""Choose the algorithm and the keys that tokens are checked with: one of each, pinned by the settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from procomp_pay.config import LOOPBACK, JwtAlgorithm, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.encryption.keyring import Keyring

_SHORTEST_SECRET = 32  # bytes; RFC 7518, section 3.2: at least the size of the hash
_SMALLEST_RSA = 2048  # bits; RFC 7518, section 3.3
_LARGEST_FILE = 64 * 1024
#: Purpose and version of the secret that the embedded default signs tokens with, without a JWT_SECRET.
_OWN = ("jwt-secret", "v1")


class Kind(StrEnum):
    """The source of the keys."""

    SECRET = "JWT_SECRET"  # noqa: S105 - the setting's name
    OWN_SECRET = "the key file"  # noqa: S105 - shown to people
    PUBLIC_KEY = "JWT_PUBLIC_KEY"
    JWKS = "JWT_JWKS_URL"


@dataclass(frozen=True, slots=True)
class Plan:
    """The algorithm and the source of keys that the settings choose."""

    algorithm: JwtAlgorithm
    kind: Kind


def plan(settings: Settings) -> Plan:
    """Return the one way in which tokens are checked.

    :raises ConfigurationError: none, more than one, or an algorithm that does not fit.
    """
    sources = {
        Kind.SECRET: settings.jwt_secret,
        Kind.PUBLIC_KEY: settings.jwt_public_key,
        Kind.JWKS: settings.jwt_jwks_url,
    }
    kinds = [kind for kind, value in sources.items() if value is not None]
    if len(kinds) > 1:
        raise ConfigurationError(
            f"{' and '.join(kinds)} are set: only one of them can be used", next_step="keep one of them"
        )
    return Plan(JwtAlgorithm.HS256, _own(settings)) if not kinds else _plan(settings, kinds[0])


def _plan(settings: Settings, kind: Kind) -> Plan:
    algorithm = settings.jwt_algorithm
    if kind is Kind.SECRET:
        if algorithm not in (None, JwtAlgorithm.HS256):
            raise ConfigurationError(
                f"JWT_ALGORITHM is {algorithm}, and a secret is set instead of the platform's public key",
                next_step="set JWT_PUBLIC_KEY or JWT_JWKS_URL instead of JWT_SECRET, or JWT_ALGORITHM=HS256",
            )
        return Plan(JwtAlgorithm.HS256, kind)
    if algorithm is None:
        raise ConfigurationError(
            f"{kind} is set without JWT_ALGORITHM, which must be pinned",
            next_step="set JWT_ALGORITHM to RS256, ES256 or EdDSA, whichever the platform signs with",
        )
    if algorithm is JwtAlgorithm.HS256:
        raise ConfigurationError(
            f"JWT_ALGORITHM is HS256, and {kind} is set: a public key is not a secret",
            next_step="set JWT_SECRET instead, or JWT_ALGORITHM to RS256, ES256 or EdDSA",
        )
    return Plan(algorithm, kind)


def _own(settings: Settings) -> Kind:
    """
    :raises ConfigurationError: nothing is set, but a key is needed.
    """
    if settings.jwt_algorithm not in (None, JwtAlgorithm.HS256):
        raise ConfigurationError(
            f"JWT_ALGORITHM is {settings.jwt_algorithm}, but there is no public key",
            next_step="set JWT_PUBLIC_KEY or JWT_JWKS_URL",
        )
    if not settings.is_embedded:
        raise ConfigurationError(
            "JWT_SECRET is not set, nor JWT_PUBLIC_KEY or JWT_JWKS_URL: no token could be checked",
            next_step="set JWT_SECRET to the platform's signing secret, 32 bytes or more",
        )
    return Kind.OWN_SECRET


def secrets(settings: Settings, keyring: Keyring) -> list[str]:
    """Return the secrets that an HS256 token may be signed with, newest first.

    Those of the embedded default are derived from its keys, so that a token outlives their rotation.

    :raises ConfigurationError: too short, or the settings choose another algorithm.
    """
    if plan(settings).kind is Kind.OWN_SECRET:
        return keyring.signatures(*_OWN)
    return [check_secret(settings)]


def check_secret(settings: Settings) -> str:
    """Return ``JWT_SECRET``.

    :raises ConfigurationError: not set, under 32 bytes, or a key in PEM.
    """
    if settings.jwt_secret is None:
        raise ConfigurationError("JWT_SECRET is not set: there is nothing to sign tokens with")
    secret = settings.jwt_secret.get_secret_value()
    if len(secret.encode()) < _SHORTEST_SECRET:
        raise ConfigurationError(
            f"JWT_SECRET is shorter than {_SHORTEST_SECRET} bytes: it could be guessed",
            next_step="make one: openssl rand -base64 48",
        )
    if secret.lstrip().startswith("-----BEGIN"):
        raise ConfigurationError(
            "JWT_SECRET holds a key in PEM; a public key is not a secret",
            next_step="set JWT_PUBLIC_KEY and JWT_ALGORITHM instead",
        )
    return secret


def public_key(settings: Settings, algorithm: JwtAlgorithm) -> Any:
    """Return the key of ``JWT_PUBLIC_KEY``: PEM, or the path of a PEM file.

    :raises ConfigurationError: it cannot be read, is not a public key, or does not fit the algorithm.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _pem(settings.jwt_public_key or "")
    if "PRIVATE KEY" in pem:
        raise ConfigurationError(
            "JWT_PUBLIC_KEY holds a private key: that belongs to the platform alone",
            next_step="openssl pkey -in KEY -pubout, and make a new pair if others could see it",
        )
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            "JWT_PUBLIC_KEY is not a public key in PEM", next_step="openssl pkey -in KEY -pubout"
        ) from None
    if not fits(key, algorithm):
        raise ConfigurationError(
            f"JWT_PUBLIC_KEY does not fit {algorithm}",
            next_step="RS256: RSA of 2048 bits or more; ES256: the curve P-256; EdDSA: Ed25519",
        )
    return key


def _pem(text: str) -> str:
    text = text.strip().replace("\\n", "\n")  # PEM in one line of an environment file
    if text.startswith("-----BEGIN"):
        return text
    try:
        with Path(text).open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8")
    except (OSError, ValueError):
        raise ConfigurationError(
            "The file that JWT_PUBLIC_KEY names cannot be read", next_step="give its path, or the PEM itself"
        ) from None


def fits(key: object, algorithm: JwtAlgorithm) -> bool:
    """Return whether the key is a public key for this algorithm, and strong enough."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match algorithm:
        case JwtAlgorithm.RS256:
            return isinstance(key, RSAPublicKey) and key.key_size >= _SMALLEST_RSA
        case JwtAlgorithm.ES256:
            return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
        case JwtAlgorithm.EDDSA:
            return isinstance(key, Ed25519PublicKey)
    return False


def jwks_url(settings: Settings) -> str:
    """
    :raises ConfigurationError: neither https nor on this machine.
    """
    url = settings.jwt_jwks_url or ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    local = host in LOOPBACK and url.startswith("http:")
    if not host or parts.username is not None or not (local or parts.scheme == "https"):
        raise ConfigurationError(
            "JWT_JWKS_URL must be an https address without a password",
            next_step="use an https URL: whoever can change the keys in transit can sign tokens",
        )
    return url
