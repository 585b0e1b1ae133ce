"""Cross-origin requests are refused unless their origin is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.http.cors import cors_from
from procomp_pay.server.http.route import BASE
from tests.support.http_requests import bearer
from tests.support.server import Serve, Served

APP = "https://app.procomp.kz"
ASKING = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
HISTORY = f"{BASE}/participant/p1/history"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_cors_is_off_by_default(served: Served) -> None:
    for answer in (
        await served.api.options(f"{BASE}/initiate", headers=ASKING),
        await served.api.get(HISTORY, headers=bearer() | {"Origin": APP}),
    ):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "Vary" not in answer.headers


async def test_a_configured_origin(serve: Serve) -> None:
    served = await serve(cors_origins=f"http://localhost:3000, {APP}")
    asked = await served.api.options(f"{BASE}/initiate", headers=ASKING)
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == APP
    assert asked.headers["Access-Control-Allow-Methods"] == "OPTIONS, POST"
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
    assert asked.headers["Vary"] == "Origin"
    for path, headers, status in (
        (HISTORY, bearer(), 200),
        (HISTORY, {}, 401),
        (f"{BASE}/status/nobody", bearer(), 404),
    ):
        answer = await served.api.get(path, headers=headers | {"Origin": APP})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == APP, "a page reads errors too"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Access-Control-Allow-Methods" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://app.procomp.kz.evil.example",
        "https://evil-app.procomp.kz",
        "http://app.procomp.kz",
        "https://app.procomp.kz:444",
        "https://app.procomp.kz/",
        "HTTPS://APP.PROCOMP.KZ",
        "null",
        "*",
        "",
    ],
)
async def test_an_origin_that_is_not_configured(serve: Serve, origin: str) -> None:
    served = await serve(cors_origins=APP)
    answer = await served.api.get(HISTORY, headers=bearer() | {"Origin": origin})
    assert answer.headers["Vary"] == "Origin"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    asked = await served.api.options(f"{BASE}/initiate", headers=ASKING | {"Origin": origin})
    assert not [name for name in asked.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "origins", ["*", "null", "app.procomp.kz", f"{APP}/", f"{APP}/path", "https://*.procomp.kz", f"{APP} x"]
)
def test_invalid_origins_are_refused(tmp_path: Path, origins: str) -> None:
    settings = Settings(_env_file=None, procomp_home=tmp_path, cors_origins=origins)
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        cors_from(settings)
