"""Who calls: a bearer JWT (RFC 7519), HS256 and nothing else, signed by the platform."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError, Unauthorized
from procomp_pay.server.bodies import is_identifier
from procomp_pay.storage.crypto import Keyring

#: Seconds that the platform's clock may be off ours.
LEEWAY_S = 30
_SHORTEST_SECRET = 32  # bytes; RFC 7518 section 3.2 asks for as many as the hash has


class Role(StrEnum):
    """What the token lets its bearer do."""

    USER = "user"
    STAFF = "staff"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who stands behind a valid token; ``user_id`` is the platform's."""

    user_id: str
    role: Role

    @property
    def sees_all(self) -> bool:
        """Staff and admin act for every participant."""
        return self.role is not Role.USER


class Gate:
    """Lets a request in by its token.

    :param audience, issuer: checked, and then required, where they are configured.
    """

    def __init__(self, secret: str, *, audience: str | None = None, issuer: str | None = None) -> None:
        self._secret = secret
        self._audience = audience
        self._issuer = issuer

    def caller(self, authorization: list[str]) -> Caller:
        """
        :param authorization: every ``Authorization`` header of the request.
        :raises Unauthorized: none, more than one, or a token that does not hold. Never says which part.
        """
        scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("A bearer token is needed")
        claims = self._claims(token.strip())
        user_id, role = claims["sub"], claims.get("role", Role.USER.value)
        if not is_identifier(user_id):
            raise Unauthorized("The token names no user")
        try:
            return Caller(user_id, Role(str(role).lower()))
        except ValueError:
            raise Unauthorized("The token's role is not known") from None

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        # releases before 2.15 let more through: an infinite exp raises OverflowError there
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise Unauthorized("The token is not valid") from None


def gate_for(settings: Settings, keyring: Keyring) -> Gate:
    """
    :raises ConfigurationError: the secret is too short, or PostgreSQL is used without one.
    """
    return Gate(jwt_secret(settings, keyring), audience=settings.jwt_audience, issuer=settings.jwt_issuer)


def jwt_secret(settings: Settings, keyring: Keyring) -> str:
    """``JWT_SECRET``; on the embedded database, where none is set, one of its own key file.

    :raises ConfigurationError: under 32 bytes, or PostgreSQL without one.
    """
    if settings.jwt_secret is None:
        if settings.is_embedded:
            return keyring.sign("jwt-secret", "v1")
        raise ConfigurationError(
            "JWT_SECRET is not set: without it nobody can be let in",
            next_step="set JWT_SECRET to the platform's signing secret, 32 bytes or more",
        )
    secret = settings.jwt_secret.get_secret_value()
    if len(secret.encode()) < _SHORTEST_SECRET:
        raise ConfigurationError(
            f"JWT_SECRET is shorter than {_SHORTEST_SECRET} bytes: it could be guessed",
            next_step="make one: openssl rand -base64 48",
        )
    return secret
