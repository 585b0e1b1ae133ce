"""Secrets are hidden, other text is kept. The secrets are assembled here, so that none is in the source."""

from __future__ import annotations

import base64
import secrets
import uuid

import jwt
import pytest
from cryptography.fernet import Fernet

from procomp_pay.domain.redact import HIDDEN, Redactor, is_secret_name, one_line, redact

KEY = Fernet.generate_key().decode()
GUID = str(uuid.uuid4())
TOKEN = jwt.encode({"sub": "u1"}, "x" * 32, "HS256")
SECRETS = {
    "stripe key": "sk_" + "live_51Habcdef",
    "restricted key": "rk_" + "test_51Habcdef",
    "webhook secret": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
    "client secret": "pi_3Nabc_secret_" + "XyZ09",
    "token": TOKEN,
    "fernet key": KEY,
    "ciphertext": Fernet(KEY.encode()).encrypt(b"x").decode(),
    "signed link": "https://pay.kz/api/v1/payments/c1/qr.png?s=" + secrets.token_urlsafe(32),
    "url": "postgresql://pay:hunter" + "22@db/x",
    "redis": "redis://:hunter" + "22@db/x",
    "api key": f"Api-Key: {GUID}",
    "json": f'{{"DeviceToken": "{GUID}", "Amount": 5}}',
    "python": f"{{'device_token': '{GUID}'}}",
    "setting": f"KASPI_API_KEY={GUID}",
    "bearer": f"Authorization: Bearer {secrets.token_hex(12)}",
    "bare bearer": f"sent bearer {secrets.token_hex(12)} to it",
    "basic": "authorization=Basic dXNlcjpwYXNz",
    "signature": f"Stripe-Signature: t=1700000000,v1={secrets.token_hex(32)},v0={secrets.token_hex(32)}",
    "card": "4242 4242 4242 4242",
    "card in one": "card 5555555555554444.",
    "amex": "3782-822463-10005",
    "pem": "-----BEGIN PRIVATE KEY-----\nMIIB" + secrets.token_hex(20) + "\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_hidden(name: str) -> None:
    text = f"before {SECRETS[name]} after"
    redacted = redact(text)
    assert HIDDEN in redacted
    assert redacted.startswith("before ")
    for part in (
        GUID,
        KEY,
        TOKEN,
        "hunter22",
        "dXNlcjpwYXNz",
        "4242",
        "5555",
        "82246",
        "MIIB",
        "_live_",
        "51H",
    ):
        assert part not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/payments/status/{participant_id} 200 3.1 ms",
        "payment cqyelpmwh9jr636l812q599qr, intent pi_3Nabc, session cs_test_a1b2, event evt_1",
        f"request {GUID}",
        "JWT_SECRET is not set: without it nobody can be let in",
        "Kaspi payment 27954570725, operation 123456789012",
        "at 2026-05-01T14:05:07.123456Z, 24000.00 KZT, 1234567890123.55",
        "4242 4242 4242 4241 is no card, nor are 0000000000000000 zeros",
        "the device token has to be set",
        "http://127.0.0.1:8080/api/v1/payments listens",
    ],
    ids=range(9),
)
def test_harmless_text_is_kept(text: str) -> None:
    assert redact(text) == text


def test_configured_values_are_hidden() -> None:
    odd = "p@ss wörd/1"
    known = Redactor([odd, "abc", ""])
    assert known.text(f"failed: {odd}; abc") == f"failed: {HIDDEN}; abc"
    assert known.text("postgresql://u:p%40ss%20w%C3%B6rd%2F1") == f"postgresql://u:{HIDDEN}"


def test_documents_are_redacted_by_field_name() -> None:
    redacted = Redactor().value(
        {
            "ApiKey": GUID,
            "inner": [{"password": 7, "amount": 5, "client_secret": None}],
            "b": b"xyz",
            "n": None,
        }
    )
    assert redacted == {
        "ApiKey": HIDDEN,
        "inner": [{"password": HIDDEN, "amount": 5, "client_secret": None}],
        "b": "<3 bytes>",
        "n": None,
    }
    deep: dict[str, object] = {}
    for _ in range(50):
        deep = {"x": deep}
    assert "…" in str(Redactor().value(deep))


@pytest.mark.parametrize(
    "name", ["apiKey", "Api-Key", "JWT_SECRET", "deviceToken", "set-cookie", "ENCRYPTION_KEYS"]
)
def test_secret_field_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["payment_id", "status", "key_count", "tokens_issued", "event", "logger"])
def test_other_field_names(name: str) -> None:
    assert not is_secret_name(name)


def test_control_characters_are_escaped() -> None:
    assert one_line("a\nb\r\x1b[31m\x00\u2028\x85é") == "a\\nb\\r\\u001b[31m\\u0000\\u2028\\u0085é"
    assert one_line("a\nb\x1b", keep="\n") == "a\nb\\u001b"


def test_long_text_is_redacted_quickly() -> None:
    for text in ("://" + ":" * 20_000, "_secret" * 5_000, "-" * 20_000, "1 " * 20_000, "eyJ" + "a" * 20_000):
        redact(text)
