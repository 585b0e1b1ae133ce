"""Tokens that were altered or made up: they name nobody but whom the platform signed them for."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from procomp_pay.config import Settings
from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.auth.tokens import Authenticator, Caller, Role, make_authenticator
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from tests.support.hostile import altered, damaged, many, texts, values
from tests.support.http_requests import JWT_SECRET


@cache
def _authenticator() -> Authenticator:
    return make_authenticator(
        Settings(_env_file=None, jwt_secret=SecretStr(JWT_SECRET)), Keyring([new_key()])
    )


def _caller(*authorization: str) -> Caller | None:
    try:
        return _authenticator().caller(list(authorization))
    except Unauthorized:
        return None


_CLAIMS = {"sub": "u1", "role": "user", "exp": int(time.time()) + 100_000, "iat": 1, "nbf": 1, "aud": "x"}


@many
@given(st.data())
def test_an_altered_token_names_nobody_else(data: st.DataObject) -> None:
    whole = jwt.encode(_CLAIMS, JWT_SECRET, algorithm="HS256")
    token = data.draw(damaged(whole.encode())).decode("latin-1")
    assert _caller(f"Bearer {token}") in (None, Caller("u1", Role.USER))


@many
@given(
    header=altered({"typ": "JWT", "kid": "1"}), algorithm=st.sampled_from(["HS256", "HS384", "HS512", "none"])
)
def test_a_token_of_another_signer_names_nobody(header: Any, algorithm: str) -> None:
    headers = header if isinstance(header, dict) else {}
    try:
        token = jwt.encode(_CLAIMS, None if algorithm == "none" else "x" * 64, algorithm, headers)
    except (TypeError, ValueError, jwt.PyJWTError):
        return  # the library writes no such header
    assert _caller(f"Bearer {token}") is None


@many
@given(altered(_CLAIMS))
def test_signed_claims_of_any_kind_name_a_user_or_nobody(claims: Any) -> None:
    try:
        token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
    except (TypeError, ValueError, jwt.PyJWTError):
        return  # no JSON object
    caller = _caller(f"Bearer {token}")
    if caller is not None:
        assert caller.user_id == claims["sub"]
        assert is_identifier(caller.user_id)
        assert caller.role is Role.USER or caller.role == str(claims["role"]).lower()


@many
@given(st.lists(texts, max_size=3), st.sampled_from(["", "Bearer ", "bearer\t", "Basic "]), values)
def test_headers_of_any_text_name_nobody(headers: list[str], scheme: str, value: object) -> None:
    assert _caller(*headers) is None
    assert _caller(f"{scheme}{value}") is None
