"""Authenticate callers by a bearer JWT (RFC 7519), signed by the platform with the configured algorithm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from procomp_pay.config import JwtAlgorithm, Settings
from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.auth import keys as jwt_keys
from procomp_pay.server.auth.jwks import ED25519, KeySet
from procomp_pay.server.auth.keys import Kind
from procomp_pay.storage.encryption.keyring import Keyring

#: Seconds by which the platform's clock may differ from ours.
LEEWAY_S = 30
#: Longer tokens are refused unread; in characters.
_LONGEST = 6 * 1024
#: What PyJWT may raise for a malformed token; before 2.15 an infinite exp raised OverflowError.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
with contextlib.suppress(ValueError):  # a later PyJWT may know it
    jwt.register_algorithm(ED25519, jwt.algorithms.OKPAlgorithm())


class Role(StrEnum):
    """The role of a caller."""

    USER = "user"
    STAFF = "staff"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of a valid token; ``user_id`` is the platform's."""

    user_id: str
    role: Role

    @property
    def sees_all(self) -> bool:
        """True for staff and admins, who act for every participant."""
        return self.role is not Role.USER


class Authenticator:
    """Authenticates callers by their tokens.

    :param keys: returns the keys to try; or a set to choose from by ``kid``.
    :param audience, issuer: required and checked where they are configured.
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
        self._algorithms = (
            [algorithm.value, ED25519] if algorithm is JwtAlgorithm.EDDSA else [algorithm.value]
        )
        self._audience = audience
        self._issuer = issuer

    async def refresh_keys(self, authorization: list[str]) -> None:
        """Fetch the keys before :meth:`caller`, if they come from a URL and this token's key is unknown."""
        if isinstance(self._keys, KeySet) and len(authorization) == 1:
            try:
                kid = _header(_token(authorization)).get("kid")
            except Unauthorized:
                return  # :meth:`caller` raises it
            await self._keys.refresh_keys(kid)

    async def warm_up(self) -> None:
        """Fetch the keys before the first request, if they come from a URL."""
        if isinstance(self._keys, KeySet):
            await self._keys.refresh_keys(None)

    def caller(self, authorization: list[str]) -> Caller:
        """Return the caller that a token names.

        :param authorization: every ``Authorization`` header of the request.
        :raises Unauthorized: none, more than one, or an invalid token; never says which part is invalid.
        :raises Unavailable: there are no keys to check it with.
        """
        claims = self._claims(_token(authorization))
        user_id, role = claims["sub"], str(claims.get("role")).lower()
        if not is_identifier(user_id):
            raise Unauthorized("The token names no user")
        # the platform has roles of its own, such as coaches: to us they are users
        return Caller(user_id, Role(role) if role in set(Role) else Role.USER)

    def _claims(self, token: str) -> dict[str, Any]:
        for key in self._candidates(_header(token)):
            try:
                claims = self._decoded(token, key)
            except jwt.InvalidSignatureError:
                continue
            except _UNREADABLE:
                break
            if all(_is_numeric_date(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
                return claims
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
            algorithms=self._algorithms,
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
        raise Unauthorized("A bearer token is required")
    if len(token) > _LONGEST:
        raise _not_valid()
    return token


def _header(token: str) -> dict[str, Any]:
    """Return the unverified header of a token, of which only ``kid`` may be used.

    URLs and keys in it (``jku``, ``x5u``, ``jwk``) are never followed; critical extensions are not supported.

    :raises Unauthorized: it cannot be read, or has ``crit``.
    """
    try:
        header = jwt.get_unverified_header(token)
    except _UNREADABLE:
        raise _not_valid() from None
    if "crit" in header:
        raise _not_valid()
    return header


def _is_numeric_date(value: object) -> bool:
    """Return True for a time as RFC 7519 has it: PyJWT takes text with digits, and ``true``, as well."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _not_valid() -> Unauthorized:
    return Unauthorized("The token is not valid")


def make_authenticator(settings: Settings, keyring: Keyring) -> Authenticator:
    """Return the authenticator that the settings describe.

    :raises ConfigurationError: the settings for tokens are missing, weak, or contradict each other.
    """
    plan = jwt_keys.plan(settings)
    keys: Callable[[], Sequence[Any]] | KeySet
    if plan.kind is Kind.JWKS:
        keys = KeySet(jwt_keys.jwks_url(settings), plan.algorithm)
    elif plan.kind is Kind.PUBLIC_KEY:
        fixed = [jwt_keys.public_key(settings, plan.algorithm)]
        keys = lambda: fixed  # noqa: E731 - shorter than a function of its own
    else:
        jwt_keys.secrets(settings, keyring)  # a wrong setting is reported now, not at the first request
        keys = lambda: jwt_keys.secrets(settings, keyring)  # noqa: E731
    return Authenticator(
        keys, algorithm=plan.algorithm, audience=settings.jwt_audience, issuer=settings.jwt_issuer
    )
