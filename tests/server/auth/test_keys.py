"""Tokens that the platform signs with a private key: which are accepted, and how public keys are fetched."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from procomp_pay.config import JwtAlgorithm, Settings
from procomp_pay.domain.errors import ConfigurationError, Unauthorized, Unavailable
from procomp_pay.server.api.routes import BASE
from procomp_pay.server.auth.jwks import FRESH_S, KEPT_S, PAUSE_S, KeySet, read
from procomp_pay.server.auth.tokens import Authenticator, make_authenticator
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from tests.support.http_requests import JWT_SECRET
from tests.support.server import Serve

RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: tokens do not use the database."""
    return sqlite_url


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def signed(key: Any, algorithm: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    body = {"sub": "u1", "exp": int(time.time()) + 600, **claims}
    return jwt.encode({k: v for k, v in body.items() if v is not None}, key, algorithm, headers)


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(_env_file=None, procomp_home=tmp_path, **more)


def authenticator(tmp_path: Path, **more: Any) -> Authenticator:
    return make_authenticator(settings(tmp_path, **more), Keyring([new_key()]))


def by_key(tmp_path: Path, algorithm: str, **more: Any) -> Authenticator:
    return authenticator(tmp_path, jwt_algorithm=algorithm, jwt_public_key=pem(KEYS[algorithm]), **more)


async def let_in(by: Authenticator, token: str) -> bool:
    await by.refresh_keys([f"Bearer {token}"])
    try:
        return by.caller([f"Bearer {token}"]).user_id == "u1"
    except Unauthorized:
        return False


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", KEYS)
async def test_each_algorithm_accepts_only_its_key(tmp_path: Path, algorithm: str) -> None:
    by = by_key(tmp_path, algorithm)
    assert await let_in(by, signed(KEYS[algorithm], algorithm))
    assert by.caller([f"Bearer {signed(KEYS[algorithm], algorithm, role='ADMIN')}"]).role == "admin"
    for other, key in KEYS.items():
        if other != algorithm:
            assert not await let_in(by, signed(key, other))
    now = int(time.time())
    for claims in ({"exp": now - 60}, {"exp": None}, {"nbf": now + 60}, {"sub": None}):
        assert not await let_in(by, signed(KEYS[algorithm], algorithm, **claims)), claims
    for claims in ({"exp": now - 20}, {"nbf": now + 20}):
        assert await let_in(by, signed(KEYS[algorithm], algorithm, **claims)), claims


async def test_audience_and_issuer(tmp_path: Path) -> None:
    by = by_key(tmp_path, "ES256", jwt_audience="pay", jwt_issuer="procomp")
    assert await let_in(by, signed(EC, "ES256", aud=["web", "pay"], iss="procomp"))
    for claims in ({"aud": "web", "iss": "procomp"}, {"aud": "pay", "iss": "x"}, {"aud": "pay"}, {}):
        assert not await let_in(by, signed(EC, "ES256", **claims)), claims


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_public_key_cannot_be_used_as_an_hs256_secret(tmp_path: Path, algorithm: str) -> None:
    """Sign with HS256 and the public key, which is not secret, in each of its encodings."""
    key = KEYS[algorithm].public_key()
    forms = [pem(KEYS[algorithm]).encode(), pem(KEYS[algorithm]).strip().encode()]
    forms.append(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    by = by_key(tmp_path, algorithm)
    for form in forms:
        text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': 'u1', 'exp': int(time.time()) + 600})}"
        mac = base64.urlsafe_b64encode(hmac.new(form, text.encode(), hashlib.sha256).digest()).rstrip(b"=")
        assert not await let_in(by, f"{text}.{mac.decode()}")


async def test_forged_tokens_are_refused(tmp_path: Path) -> None:
    by = by_key(tmp_path, "RS256")
    good = signed(RSA, "RS256")
    _, claims, signature = good.split(".")
    assert not await let_in(by, signed(OTHER_RSA, "RS256"))
    for header in (
        {"alg": "none"}, {"alg": "None"}, {"alg": "RS512"}, {"alg": ""}, {"alg": ["RS256"]}, {"typ": "JWT"},
        {"alg": "RS256", "crit": ["exp"]}, [], "RS256",
    ):  # fmt: skip
        assert not await let_in(by, f"{part(header)}.{claims}.{signature}"), header
        assert not await let_in(by, f"{part(header)}.{claims}."), header
    for headers in ({"crit": []}, {"crit": ["x"], "x": 1}, {"crit": ["b64"], "b64": True}):
        assert not await let_in(by, signed(RSA, "RS256", headers)), headers
    assert not await let_in(by, f"{good}.{signature}")
    assert not await let_in(by, signed(RSA, "RS256", note="x" * 6000)), "too long to be read"
    assert await let_in(by, good)


async def test_urls_and_keys_in_a_token_header_are_ignored(tmp_path: Path) -> None:
    """Sign with a forger's key, and point to it in the header."""
    by = by_key(tmp_path, "RS256")
    asked: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"keys": [jwk(OTHER_RSA, "mine")]})

    async with served(respond) as url:
        own = jwk(OTHER_RSA, "mine")
        for headers in ({"jku": url}, {"x5u": url}, {"jwk": own}, {"kid": "mine", "jku": url, "x5c": ["x"]}):
            assert not await let_in(by, signed(OTHER_RSA, "RS256", headers))
        assert await let_in(by, signed(RSA, "RS256", {"jku": url, "kid": "../../etc/passwd"}))
    assert asked == []


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"jwt_public_key": "K"}, "without JWT_ALGORITHM"),
        ({"jwt_jwks_url": "https://a.kz/k"}, "without JWT_ALGORITHM"),
        ({"jwt_algorithm": "HS256", "jwt_public_key": "K"}, "a public key is not a secret"),
        ({"jwt_algorithm": "HS256", "jwt_jwks_url": "https://a.kz/k"}, "a public key is not a secret"),
        ({"jwt_algorithm": "RS256", "jwt_secret": SecretStr(JWT_SECRET)}, "instead of the platform's"),
        ({"jwt_algorithm": "RS256"}, "there is no public key"),
        (
            {"jwt_secret": SecretStr(JWT_SECRET), "jwt_jwks_url": "https://a.kz/k"},
            "only one of them can be used",
        ),
        ({"jwt_algorithm": "ES256", "jwt_public_key": "K"}, "does not fit ES256"),
        ({"jwt_algorithm": "RS256", "jwt_public_key": "/no/such/file"}, "cannot be read"),
        (
            {"jwt_algorithm": "RS256", "jwt_public_key": "-----BEGIN PUBLIC KEY-----\nx"},
            "not a public key in PEM",
        ),
        ({"jwt_algorithm": "RS256", "jwt_public_key": "SMALL"}, "does not fit RS256"),
        ({"jwt_algorithm": "RS256", "jwt_public_key": "PRIVATE"}, "holds a private key"),
        ({"jwt_secret": SecretStr("-----BEGIN PUBLIC KEY-----" + "x" * 32)}, "not a secret"),
        ({"jwt_algorithm": "RS256", "jwt_jwks_url": "http://a.kz/k"}, "https"),
        ({"jwt_algorithm": "RS256", "jwt_jwks_url": "file:///etc/keys"}, "https"),
        ({"jwt_algorithm": "RS256", "jwt_jwks_url": "https://u:p@a.kz/k"}, "https"),
        ({"database_url": SecretStr("postgresql://u@localhost/x")}, "no token could be checked"),
    ],
)
def test_contradictory_settings_are_refused(tmp_path: Path, given: dict[str, Any], word: str) -> None:
    small = rsa.generate_private_key(65537, 1024)
    private = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    known = {"K": pem(RSA), "SMALL": pem(small), "PRIVATE": private}
    filled = {
        name: known.get(value, value) if isinstance(value, str) else value for name, value in given.items()
    }
    with pytest.raises(ConfigurationError, match=word) as caught:
        authenticator(tmp_path, **filled)
    assert caught.value.next_step
    assert "BEGIN" not in str(caught.value)


async def test_a_public_key_by_file_or_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(EC))
    for given in (str(path), pem(EC).replace("\n", "\\n")):
        assert await let_in(
            authenticator(tmp_path, jwt_algorithm="ES256", jwt_public_key=given), signed(EC, "ES256")
        )


# ---- keys by URL


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    kind = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    }
    of = next((made for base, made in kind.items() if isinstance(key, base)), jwt.algorithms.OKPAlgorithm)
    made = json.loads(of.to_jwk(key.public_key()))
    return made | ({"kid": kid} if kid is not None else {}) | more


class served:  # noqa: N801 - reads as a function
    """Serve one handler on this machine."""

    def __init__(self, handler: Any) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/jwks"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


class Platform:
    """A JWKS URL whose keys, failures and clock a test controls."""

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk(RSA, "one")]
        self.asked = 0
        self.status = 200
        self.now = 1000.0
        self.body: bytes | None = None
        self.url = ""

    async def respond(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(0.02)
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        return web.Response(body=body, status=self.status, headers={"Location": self.url})

    def authenticator(self, algorithm: JwtAlgorithm = JwtAlgorithm.RS256) -> Authenticator:
        return Authenticator(KeySet(self.url, algorithm, clock=lambda: self.now), algorithm=algorithm)


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    async with served(made.respond) as made.url:
        yield made


async def test_keys_are_fetched_once_and_rotate(platform: Platform) -> None:
    by = platform.authenticator()
    old, new = signed(RSA, "RS256", {"kid": "one"}), signed(OTHER_RSA, "RS256", {"kid": "two"})
    assert all(await asyncio.gather(*(let_in(by, old) for _ in range(20))))
    assert platform.asked == 1
    platform.keys = [jwk(OTHER_RSA, "two"), jwk(RSA, "one")]
    platform.now += PAUSE_S
    assert all(await asyncio.gather(*(let_in(by, new) for _ in range(20))))
    assert platform.asked == 2
    assert await let_in(by, old)
    platform.keys = [jwk(OTHER_RSA, "two")]
    platform.now += FRESH_S + 1
    assert not await let_in(by, old), "what was taken out ends with the next look"
    assert await let_in(by, new)
    assert platform.asked == 3


async def test_many_unknown_key_ids_cause_few_fetches(platform: Platform) -> None:
    by = platform.authenticator()
    await by.warm_up()
    for n in range(200):
        assert not await let_in(by, signed(EC, "ES256", {"kid": f"no-{n}"}))
    assert platform.asked == 1
    platform.now += PAUSE_S
    for kid in ("'; DROP TABLE keys; --", "../../dev/null", "no", "x"):
        assert not await let_in(by, signed(RSA, "RS256", {"kid": kid}))
    assert platform.asked == 2


async def test_an_invalid_key_id_causes_no_fetch(platform: Platform) -> None:
    by = platform.authenticator()
    await by.warm_up()
    platform.now += PAUSE_S
    assert await let_in(by, signed(RSA, "RS256")), "there is only one key"
    assert not await let_in(by, signed(RSA, "RS256", {"kid": "k" * 300}))
    assert not await let_in(by, f"{part({'alg': 'RS256', 'kid': 7})}.e30.AA")
    assert not await let_in(by, f"{part({'alg': 'RS256', 'kid': ['one']})}.e30.AA")
    assert platform.asked == 1
    platform.keys.append(jwk(OTHER_RSA, "two"))
    platform.now += FRESH_S + 1
    assert not await let_in(by, signed(RSA, "RS256")), "which of the two would be a guess"


async def test_cached_keys_are_used_while_the_url_is_down(platform: Platform) -> None:
    by, token = platform.authenticator(), signed(RSA, "RS256", {"kid": "one"})
    assert await let_in(by, token)
    for status, body in (
        (500, None),
        (302, None),
        (200, b"[]"),
        (200, b"x" * 300_000),
        (200, b'{"keys": []}'),
    ):
        platform.status, platform.body = status, body
        platform.now += FRESH_S + 1
        assert await let_in(by, token), (status, body)
    platform.now += KEPT_S
    with pytest.raises(Unavailable):
        await let_in(by, token)
    platform.status, platform.body = 200, None
    platform.now += PAUSE_S
    assert await let_in(by, token)


async def test_without_any_keys_tokens_get_a_503(platform: Platform) -> None:
    platform.status = 503
    by = platform.authenticator()
    with pytest.raises(Unavailable):
        await let_in(by, signed(RSA, "RS256", {"kid": "one"}))
    with pytest.raises(Unavailable):
        await let_in(by, signed(RSA, "RS256", {"kid": "one"}))
    assert platform.asked == 1


def test_only_keys_of_the_pinned_algorithm_are_read() -> None:
    small = rsa.generate_private_key(65537, 1024)
    secret = {"kty": "oct", "k": "AAAA", "kid": "o", "alg": "RS256"}
    keys = [
        jwk(RSA, "a"), jwk(RSA, "b", use="enc"), jwk(RSA, "c", alg="RS512"), jwk(EC, "d"), jwk(small, "e"),
        secret, jwk(ED, "g"), {}, "x", None, {"kty": "RSA", "kid": "h"}, {"kty": "RSA", "n": 7, "e": []},
    ]  # fmt: skip
    assert set(read(json.dumps({"keys": keys}).encode(), JwtAlgorithm.RS256)) == {"a"}
    assert set(read(json.dumps({"keys": keys}).encode(), JwtAlgorithm.ES256)) == {"d"}
    assert set(read(json.dumps({"keys": keys}).encode(), JwtAlgorithm.EDDSA)) == {"g"}


async def test_a_server_with_a_jwks_url(serve: Serve, platform: Platform) -> None:
    running = await serve(jwt_secret=None, jwt_algorithm=JwtAlgorithm.RS256, jwt_jwks_url=platform.url)
    assert platform.asked == 1, "before the first request"
    for token, status in (
        (signed(RSA, "RS256", {"kid": "one"}), 200),
        (signed(OTHER_RSA, "RS256", {"kid": "one"}), 401),
        (signed(JWT_SECRET, "HS256", {"kid": "one"}), 401),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        answer = await running.api.get(f"{BASE}/participant/p1/history", headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519", None])
def test_ed25519_is_eddsa(tmp_path: Path, alg: str | None) -> None:
    made = authenticator(tmp_path, jwt_public_key=pem(ED), jwt_algorithm="Ed25519")
    for name in ("EdDSA", "Ed25519"):
        assert made.caller([f"Bearer {signed(ED, name)}"]).user_id == "u1"
    with pytest.raises(Unauthorized):
        made.caller([f"Bearer {signed(RSA, 'RS256')}"])
    key = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(ED.public_key())) | ({"alg": alg} if alg else {})
    assert list(read(json.dumps({"keys": [key | {"kid": "1"}]}).encode(), JwtAlgorithm.EDDSA)) == ["1"]
