"""Requests that were altered or made up, signed where they must be: each gets an answer, and none a 5xx."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import strategies as st
from pydantic import SecretStr

from procomp_pay.server.http.route import BASE
from tests.support.hostile import altered, damaged, drawn, texts
from tests.support.http_requests import bearer, sign
from tests.support.patience import PATIENCE_S
from tests.support.server import Eventually, Serve, Served, paid

SECRET = "a secret made for this test"
_CALLBACK = {
    "event": "invoice.paid",
    "invoice": {
        "id": 77, "external_order_id": "c1", "status": "paid", "amount": "24000.00", "currency": "KZT",
        "transaction_id": "123", "paid_at": "2026-01-15T12:00:00Z", "refunded_amount": 0,
    },
}  # fmt: skip
_EVENT = {
    "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1768485600,
    "livemode": False,
    "data": {"object": {
        "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount_received": 5000,
        "currency": "usd", "metadata": {"payment_id": "c1", "participant_id": "p1"}, "latest_charge": "ch_1",
    }},
}  # fmt: skip
_BILL = {"command": "pay", "txn_id": "1", "account": "p1", "sum": "24000.00", "txn_date": "20260115190000"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: requests have the same form on both databases."""
    return sqlite_url


@pytest.fixture
async def hooked(serve: Serve) -> Served:
    limits = {f"rate_limit_{kind}": "off" for kind in ("reads", "writes", "open", "failures")}
    return await serve(kaspi_callback_allow="127.0.0.1", kaspi_api_secret=SecretStr(SECRET), **limits)


def as_body(document: Any) -> bytes:
    return json.dumps(document).encode()


async def test_signed_bodies(hooked: Served, eventually: Eventually) -> None:
    """What follows them is handled as ever: no body of another holds it up."""
    bodies = st.one_of(
        altered(_EVENT).map(as_body), damaged(as_body(_EVENT)), altered(_CALLBACK).map(as_body),
        damaged(as_body(_CALLBACK)), st.integers(1, 5000).map(lambda depth: b"[" * depth),
        st.integers(1, 5000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth), st.binary(),
    )  # fmt: skip
    secret = str(hooked.sandbox.info()["webhook_secret"])
    for body in drawn(bodies):
        json_type = {"Content-Type": "application/json"}
        stripe = json_type | {"Stripe-Signature": sign(body, secret)}
        gateway = json_type | {"X-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
        for path, headers in (("stripe", stripe), ("kaspi", gateway)):
            answer = await hooked.api.post(f"{BASE}/webhooks/{path}", content=body, headers=headers)
            assert answer.status_code in (200, 400), (path, body, answer.text)
    await paid(hooked, eventually)


async def test_bills(hooked: Served) -> None:
    queries = st.one_of(
        altered(_BILL).filter(lambda query: isinstance(query, dict)),
        st.dictionaries(st.sampled_from([*_BILL, "format"]), texts),
    )
    for query in drawn(queries):
        text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in query.items())
        answer = await hooked.api.get(f"{BASE}/webhooks/kaspi?{text[:6000]}")
        assert answer.status_code == 200, (text, answer.text)


def _quoted(value: object) -> str:
    return quote(str(value).encode("utf-8", "replace"), safe="")


async def test_bodies(hooked: Served, eventually: Eventually) -> None:
    payment_id = await paid(hooked, eventually, "p2")
    kinds = {
        "initiate": {
            "participant_id": "p1", "method": "kaspi_qr", "amount": "24000", "currency": "KZT",
            "return_url": "https://a.kz", "phone": "+77010000000", "language": "kk",
        },
        f"admin/payments/{payment_id}/refund": {
            "reason": "why", "amount": "1.00", "currency": "USD", "force": False,
        },
        f"admin/payments/{payment_id}/verify-kaspi": {"operation_number": "123456", "reason": "why"},
    }  # fmt: skip
    bodies = st.sampled_from(list(kinds)).flatmap(
        lambda path: st.tuples(
            st.just(path),
            st.one_of(altered(kinds[path]).map(as_body), damaged(as_body(kinds[path]))),
        )
    )
    headers = bearer(role="admin") | {"Content-Type": "application/json"}
    for path, body in drawn(bodies):
        answer = await hooked.api.post(f"{BASE}/{path}", content=body, headers=headers)
        assert answer.status_code < 500, (path, body, answer.text)


async def test_headers_and_addresses(hooked: Served) -> None:
    """As bytes on a connection: no client library would send most of them."""
    known = bearer(role="admin") | {
        "Stripe-Signature": f"t={int(time.time())},v1=00", "X-Signature": "0" * 64,
        "X-Timestamp": "1768485600", "Idempotency-Key": "k", "X-Request-ID": "r", "Accept": "*/*",
        "Accept-Language": "ru;q=0.5, kk", "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "https", "Forwarded": "for=192.0.2.1",
        "Content-Type": "application/json", "Origin": "https://a.kz", "Host": "localhost", "Expect": "",
        "Content-Length": "2", "Transfer-Encoding": "chunked", "Connection": "close", "Range": "bytes=0-1",
    }  # fmt: skip
    paths = (
        "status/p1", "initiate", "participant/p1/history", "webhooks/stripe", "webhooks/kaspi", "health",
        "admin/payments?limit=5&cursor=x", "c1/qr.png?s=x", "thanks", "metrics",
        "openapi.json",
    )  # fmt: skip

    def header(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
        usual = known[name].encode()
        value = st.one_of(
            texts.map(lambda text: text.encode("utf-8", "replace")), damaged(usual), st.just(usual)
        )
        return st.tuples(st.just(name), value)

    requests = st.tuples(
        st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "get", "\0"]),
        st.one_of(
            st.sampled_from(paths).map(str.encode),
            st.tuples(st.sampled_from(paths), texts.map(_quoted)).map("".join).map(str.encode),
            st.sampled_from(paths).map(str.encode).flatmap(damaged),
        ),
        st.lists(st.sampled_from(list(known)).flatmap(header), max_size=4),
        st.sampled_from(
            [b"", b"{}", b'{"participant_id": "p1", "method": "apple_pay"}', b"0\r\n\r\n", b"\xff"]
        ),
    )
    host, _, port = hooked.url.rpartition("//")[2].partition(":")
    for method, path, changes, body in drawn(requests):
        headers = [(name, known[name].encode()) for name in ("Authorization", "Host")] + changes
        head = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in headers)
        line = b"%b %b/%b HTTP/1.1\r\n" % (method.encode(), BASE.encode(), path)
        answer = await _sent(host, int(port), line + head + b"\r\n" + body)
        status = answer.split(b" ", 2)[1:2]
        assert status == [] or not status[0].startswith(b"5"), (line, head, body, answer)
    assert (await hooked.api.get(f"{BASE}/health/live")).status_code == 200


async def _sent(host: str, port: int, request: bytes) -> bytes:
    """Send bytes, and no more; return all that is answered until the server closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()
