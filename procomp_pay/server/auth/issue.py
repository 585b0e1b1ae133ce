"""Issue tokens for operators, where the signing secret is ours."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

import jwt

from procomp_pay.config import JwtAlgorithm, Settings
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.auth import keys as jwt_keys
from procomp_pay.server.auth.tokens import Role
from procomp_pay.storage.encryption.keyring import Keyring

#: The longest lifetime of a token.
LONGEST = timedelta(hours=24)


def issue(settings: Settings, keyring: Keyring, user: str, role: Role, life: timedelta, now: datetime) -> str:
    """Return a token such as the platform would sign.

    :raises Refused: the platform signs with a key that we do not have, or the lifetime is too long.
    :raises ConfigurationError: the settings for tokens are missing or weak.
    """
    plan = jwt_keys.plan(settings)
    if plan.algorithm is not JwtAlgorithm.HS256:
        raise Refused(
            f"Tokens are signed by the platform ({plan.algorithm}, {plan.kind}): "
            "procomp-pay has only its public key",
            next_step="ask the platform for a token",
        )
    if not is_identifier(user):
        raise Refused("A user's id is 1 to 128 printable characters")
    if not timedelta(0) < life <= LONGEST:
        raise Refused("A token is valid for at most 24 hours", next_step="add: --ttl 15m")
    claims = {
        "sub": user,
        "role": role.value,
        "iat": int(now.timestamp()),
        "exp": int((now + life).timestamp()),
        "jti": secrets.token_hex(12),
        "aud": settings.jwt_audience,
        "iss": settings.jwt_issuer,
    }
    payload = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(payload, jwt_keys.secrets(settings, keyring)[0], algorithm="HS256")
