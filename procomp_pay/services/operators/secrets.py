"""PINs and tokens: made, hashed with Argon2, compared. Nothing of them is kept in plain text."""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: Compared where there is no account to compare with, so that it takes as long. Nobody knows its secret.
_OF_NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$WhdDlPsvKMG/LV1pbehxgw$P8eQW0r/dy8YkFPN/hhfFVY/8zKPx+d91nWLkSYkh7w"
)


@lru_cache
def _hasher() -> PasswordHasher:
    """Return Argon2id with the second recommendation of RFC 9106: 64 MiB, a tenth of a second."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


def new_token() -> str:
    """Return a random token of 256 bits."""
    return "ppo_" + secrets.token_urlsafe(32)


def is_token(secret: str) -> bool:
    """Return whether this is a token, and no PIN that somebody guesses."""
    return secret.startswith("ppo_") and len(secret) >= len("ppo_") + 32


def hashed(secret: str) -> str:
    """Return the Argon2 hash of a PIN or token, with its own salt."""
    return _hasher().hash(secret)


def matches(secret_hash: str | None, secret: str) -> bool:
    """Return whether a secret is the one of a hash; takes as long where there is none (``None``)."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(secret_hash or _OF_NOBODY, secret) and secret_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def token_hash(token: str) -> str:
    """Return the SHA-256 of a random token: it cannot be guessed, so it needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
