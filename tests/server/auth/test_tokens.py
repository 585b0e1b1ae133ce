"""Bearer tokens: which are accepted and which are refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.auth.keys import secrets
from procomp_pay.server.auth.tokens import LEEWAY_S, make_authenticator
from procomp_pay.server.http.route import BASE
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from tests.support.http_requests import JWT_SECRET, token
from tests.support.server import Serve, Served


def _unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def _now(shift: float) -> int:
    return int(time.time() + shift)


REFUSED: dict[str, str] = {
    "no token": "",
    "no scheme": token(),
    "basic": f"Basic {token()}",
    "empty": "Bearer",
    "not a token": "Bearer abc",
    "other secret": f"Bearer {token(secret='another-secret-that-is-long-enough-000')}",
    "alg none": f"Bearer {_unsigned({'sub': 'u1', 'exp': _now(600)})}",
    "alg HS512": f"Bearer {token(secret=JWT_SECRET + 'x' * 32, algorithm='HS512')}",
    "alg HS384, same secret": f"Bearer {token(secret=JWT_SECRET + '0' * 16, algorithm='HS384')}",
    "expired": f"Bearer {token(exp=_now(-LEEWAY_S - 5))}",
    "no exp": f"Bearer {token(exp=None)}",
    "exp as text": f"Bearer {token(exp='never')}",
    "exp without end": f"Bearer {token(exp=float('inf'))}",
    "exp as list": f"Bearer {token(exp=[1])}",
    "nbf without end": f"Bearer {token(nbf=float('-inf'))}",
    "iat as list": f"Bearer {token(iat=[1])}",
    "deep header": f"Bearer {base64.urlsafe_b64encode(b'[' * 5700).decode()}.e30.AA",
    "not yet": f"Bearer {token(nbf=_now(LEEWAY_S + 3600))}",
    "no sub": f"Bearer {token(None)}",
    "sub as number": f"Bearer {token(7)}",
    "sub empty": f"Bearer {token('')}",
    "sub with NUL": f"Bearer {token('u1' + chr(0))}",
    "long sub": f"Bearer {token('u' * 129)}",
    "exp as digits": f"Bearer {token(exp=str(_now(600)))}",
    "exp true": f"Bearer {token(exp=True)}",
    "nbf as digits": f"Bearer {token(nbf=str(_now(-600)))}",
    "iat as digits": f"Bearer {token(iat=str(_now(-600)))}",
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: tokens do not use the database."""
    return sqlite_url


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(served: Served, name: str) -> None:
    headers = {"Authorization": REFUSED[name]} if REFUSED[name] else {}
    answer = await served.api.get(f"{BASE}/participant/p1/history", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert set(answer.json()) == {"detail", "status_code", "code"}


@pytest.mark.parametrize(
    "good",
    [
        lambda: f"Bearer {token()}",
        lambda: f"bearer {token()}",
        lambda: f"Bearer {token(exp=_now(-LEEWAY_S + 20))}",
        lambda: f"Bearer {token(aud='somebody')}",
        lambda: f"Bearer {token(role='user', iss='x')}",
        lambda: f"Bearer {token(exp=_now(600) + 0.5)}",
    ],
)
async def test_valid_tokens_are_accepted(served: Served, good: Callable[[], str]) -> None:
    answer = await served.api.get(f"{BASE}/participant/p1/history", headers={"Authorization": good()})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("role", ["coach", "root", "", 7, True, ["admin"], {"name": "admin"}])
async def test_an_unknown_role_is_a_user(served: Served, role: Any) -> None:
    headers = {"Authorization": f"Bearer {token(role=role)}"}
    assert (await served.api.get(f"{BASE}/participant/p1/history", headers=headers)).status_code == 200
    assert (await served.api.get(f"{BASE}/participant/p3/history", headers=headers)).status_code == 403
    assert (await served.api.get(f"{BASE}/admin/payments", headers=headers)).status_code == 403


async def test_two_authorization_headers_are_refused(served: Served) -> None:
    two = [("Authorization", f"Bearer {token()}")] * 2
    assert (await served.api.get(f"{BASE}/status/p1", headers=two)).status_code == 401


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 401),
        ({"aud": "pay"}, 401),
        ({"iss": "procomp"}, 401),
        ({"aud": "pay", "iss": "other"}, 401),
        ({"aud": "other", "iss": "procomp"}, 401),
        ({"aud": ["web", "pay"], "iss": "procomp"}, 200),
    ],
)
async def test_audience_and_issuer_are_required_where_configured(
    serve: Serve, claims: dict[str, Any], status: int
) -> None:
    served = await serve(jwt_audience="pay", jwt_issuer="procomp")
    headers = {"Authorization": f"Bearer {token(**claims)}"}
    answer = await served.api.get(f"{BASE}/participant/p1/history", headers=headers)
    assert answer.status_code == status


def _settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(_env_file=None, procomp_home=tmp_path, **more)


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    keys = Keyring([new_key()])
    with pytest.raises(ConfigurationError, match="32 bytes"):
        make_authenticator(_settings(tmp_path, jwt_secret=SecretStr("x" * 31)), keys)
    make_authenticator(_settings(tmp_path, jwt_secret=SecretStr("x" * 32)), keys)


def test_the_embedded_default_has_its_own_secret(tmp_path: Path) -> None:
    key = new_key()
    [first] = secrets(_settings(tmp_path), Keyring([key]))
    assert [first] == secrets(_settings(tmp_path), Keyring([key]))
    assert [first] != secrets(_settings(tmp_path), Keyring([new_key()]))
    assert len(first) >= 32
    rotated = secrets(_settings(tmp_path), Keyring([new_key(), key]))
    assert rotated[1] == first, "a token outlives the rotation of the keys"


def test_postgresql_needs_a_secret(tmp_path: Path) -> None:
    settings = _settings(tmp_path, database_url=SecretStr("postgresql://u@localhost/x"))
    with pytest.raises(ConfigurationError, match="JWT_SECRET"):
        make_authenticator(settings, Keyring([new_key()]))
