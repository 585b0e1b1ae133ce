"""The client behind trusted proxies; forwarding headers of others are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.http.proxy import Client, proxies_from
from procomp_pay.server.http.route import BASE
from tests.support.http_requests import bearer
from tests.support.server import Serve

TRUSTED = "10.0.0.0/8, 127.0.0.1,2001:db8::/32"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def _client(tmp_path: Path, peer: str | None, *headers: tuple[str, str], trusted: str = TRUSTED) -> Client:
    settings = Settings(_env_file=None, procomp_home=tmp_path, trusted_proxies=trusted)
    request: Any = make_mocked_request("GET", "/", headers=CIMultiDict(headers))
    return proxies_from(settings).client(request.clone(remote=peer) if peer else _without_peer(request))


def _without_peer(request: web.Request) -> web.Request:
    return request.clone(remote="")


FOR = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        # headers of an untrusted peer
        ("203.0.113.9", ["203.0.113.7"], "203.0.113.9"),
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        # the client's own value is left of what our proxies appended
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.0.0.3, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        # an invalid address ends the chain
        ("10.0.0.1", ["203.0.113.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.7,"], "10.0.0.1"),
        ("10.0.0.1", ["\u00e4" * 9], "10.0.0.1"),
        # notations
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2a00::1]:4711"], "2a00::1"),
        ("10.0.0.1", ["2a00::1"], "2a00::1"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("2001:db8::1", ["203.0.113.7"], "203.0.113.7"),
        ("fe80::1%eth0", ["203.0.113.7"], "fe80::1%eth0"),
        (None, ["203.0.113.7"], ""),
        ("10.0.0.1", ["203.0.113.7" + ", 10.0.0.2" * 5000], "10.0.0.2"),
    ],
)
def test_the_client_is_the_right_most_address_that_is_not_a_proxy(
    tmp_path: Path, peer: str | None, headers: list[str], client: str
) -> None:
    assert _client(tmp_path, peer, *((FOR, value) for value in headers)).address == client


def test_without_trusted_proxies_headers_are_ignored(tmp_path: Path) -> None:
    headers = ((FOR, "1.1.1.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"))
    assert _client(tmp_path, "127.0.0.1", *headers, trusted="") == Client("127.0.0.1")
    assert _client(tmp_path, "203.0.113.9", *headers) == Client("203.0.113.9")


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "pay.procomp.kz", "https://pay.procomp.kz"),
        ("http", "pay.procomp.kz:8443", "http://pay.procomp.kz:8443"),
        ("http, https", "evil.example, pay.procomp.kz", "https://pay.procomp.kz"),
        ("https", "[2a00::1]:443", "https://[2a00::1]:443"),
        ("https", "a.kz/evil", None),
        ("https", "a.kz@evil.example", None),
        ("https", "a.kz evil", None),
        ("https", "", None),
        ("javascript", "a.kz", None),
        ("", "a.kz", None),
    ],
)
def test_scheme_and_host(tmp_path: Path, scheme: str, host: str, origin: str | None) -> None:
    client = _client(
        tmp_path, "10.0.0.1", (FOR, "1.1.1.1"), ("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", host)
    )
    assert client.origin == origin
    assert client.is_https is (scheme.endswith("https"))


@pytest.mark.parametrize("trusted", ["everyone", "*", "10.0.0.0/33", "10.0.0.1/8", "a.kz"])
def test_an_invalid_list_of_proxies_is_refused(tmp_path: Path, trusted: str) -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        _client(tmp_path, "10.0.0.1", trusted=trusted)


BEHIND = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pay.procomp.kz", FOR: "203.0.113.7"}


@pytest.mark.parametrize(
    ("changed", "start", "is_https"),
    [
        ({"trusted_proxies": "127.0.0.1"}, "https://pay.procomp.kz/", True),
        ({"trusted_proxies": "10.0.0.1"}, "http://127.0.0.1:", False),
        ({}, "http://127.0.0.1:", False),
    ],
)
async def test_links_use_the_host_that_the_client_requested(
    serve: Serve, changed: dict[str, Any], start: str, is_https: bool
) -> None:
    served = await serve(**changed)
    answer = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p1", "method": "kaspi_qr"},
        headers=bearer() | BEHIND,
    )
    assert answer.json()["qr_image_url"].startswith(start)
    assert ("Strict-Transport-Security" in answer.headers) is is_https


async def test_a_configured_base_url_wins_over_proxy_headers(serve: Serve) -> None:
    served = await serve(trusted_proxies="127.0.0.1", public_base_url="https://public.procomp.kz")
    object.__setattr__(served.ctx, "base_url", "https://public.procomp.kz")
    answer = await served.api.get(f"{BASE}/health/live", headers=BEHIND)
    assert "Strict-Transport-Security" in answer.headers
    started = await served.initiate("p1", "kaspi_qr", headers=BEHIND)
    assert not started["qr_image_url"].startswith("https://pay.procomp.kz")
