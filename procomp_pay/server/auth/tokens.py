"""Who calls: a bearer JWT (RFC 7519), signed by the platform with the one algorithm that is configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from procomp_pay.config import JwtAlgorithm, Settings
from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.auth import keys as jwt_keys
from procomp_pay.server.auth.jwks import KeySet
from procomp_pay.server.auth.keys import Kind
from procomp_pay.storage.encryption.keyring import Keyring

#: Seconds that the platform's clock may be off ours.
LEEWAY_S = 30
#: A longer token is not even read.
_LONGEST = 6 * 1024
#: What PyJWT may raise for what a stranger sends; before 2.15 an infinite exp raised OverflowError.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)


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

    :param keys: gives what its signature may be made with, each tried; or a set to choose from by ``kid``.
    :param audience, issuer: checked, and then required, where they are configured.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[Any]] | KeySet,
        *,
        algorithm: JwtAlgorithm = JwtAlgorithm.HS256,
        audience: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self._keys = keys
        self._algorithm = algorithm.value
        self._audience = audience
        self._issuer = issuer

    async def look(self, authorization: list[str]) -> None:
        """Before :meth:`caller`: learn the token's key, where keys are learned and this one is not known."""
        if isinstance(self._keys, KeySet) and len(authorization) == 1:
            try:
                kid = _header(_token(authorization)).get("kid")
            except Unauthorized:
                return  # caller says so
            await self._keys.look(kid)

    async def warm_up(self) -> None:
        """Fetch the keys before the first request, where they are fetched."""
        if isinstance(self._keys, KeySet):
            await self._keys.look(None)

    def caller(self, authorization: list[str]) -> Caller:
        """
        :param authorization: every ``Authorization`` header of the request.
        :raises Unauthorized: none, more than one, or a token that does not hold. Never says which part.
        :raises Unavailable: there are no keys to check it with.
        """
        claims = self._claims(_token(authorization))
        user_id, role = claims["sub"], claims.get("role", Role.USER.value)
        if not is_identifier(user_id):
            raise Unauthorized("The token names no user")
        try:
            return Caller(user_id, Role(str(role).lower()))
        except ValueError:
            raise Unauthorized("The token's role is not known") from None

    def _claims(self, token: str) -> dict[str, Any]:
        for key in self._candidates(_header(token)):
            try:
                return self._decoded(token, key)
            except jwt.InvalidSignatureError:
                continue
            except _UNREADABLE:
                break
        raise _not_valid()

    def _candidates(self, header: dict[str, Any]) -> Sequence[Any]:
        if not isinstance(self._keys, KeySet):
            return self._keys()
        key = self._keys.key(header.get("kid"))
        return () if key is None else (key,)

    def _decoded(self, token: str, key: Any) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[self._algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
        )


def _token(authorization: list[str]) -> str:
    """
    :raises Unauthorized: no bearer token, more than one, or one that is too long.
    """
    scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("A bearer token is needed")
    if len(token) > _LONGEST:
        raise _not_valid()
    return token


def _header(token: str) -> dict[str, Any]:
    """The token's header, which nobody has checked: only ``kid`` is taken from it. Addresses and keys in it
    (``jku``, ``x5u``, ``jwk``) are never followed, and what it calls critical is more than we understand.

    :raises Unauthorized: it cannot be read, or has ``crit``.
    """
    try:
        header = jwt.get_unverified_header(token)
    except _UNREADABLE:
        raise _not_valid() from None
    if "crit" in header:
        raise _not_valid()
    return header


def _not_valid() -> Unauthorized:
    return Unauthorized("The token is not valid")


def gate_for(settings: Settings, keyring: Keyring) -> Gate:
    """
    :raises ConfigurationError: the settings for tokens are missing, weak, or contradict each other.
    """
    asked = jwt_keys.plan(settings)
    keys: Callable[[], Sequence[Any]] | KeySet
    if asked.kind is Kind.JWKS:
        keys = KeySet(jwt_keys.jwks_url(settings), asked.algorithm)
    elif asked.kind is Kind.PUBLIC_KEY:
        fixed = [jwt_keys.public_key(settings, asked.algorithm)]
        keys = lambda: fixed  # noqa: E731 - shorter than a function of its own
    else:
        jwt_keys.secrets(settings, keyring)  # what is wrong is told now, not at the first request
        keys = lambda: jwt_keys.secrets(settings, keyring)  # noqa: E731
    return Gate(keys, algorithm=asked.algorithm, audience=settings.jwt_audience, issuer=settings.jwt_issuer)
