"""Invalid initiations are refused, and nothing is written."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.money import Currency
from procomp_pay.server.api.requests import BODY_BYTES
from procomp_pay.server.api.routes import table
from procomp_pay.server.http.route import BASE
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.terms import TournamentFee
from tests.support.http_requests import bearer
from tests.support.server import Served

GOOD = '"participant_id":"p1","method":"apple_pay"'


def _with(more: str) -> bytes:
    return f"{{{GOOD},{more}}}".encode("utf-8", "surrogatepass")


BAD: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "form": b"participant_id=p1&method=apple_pay",
    "not UTF-8": b'{"participant_id":"\xff","method":"apple_pay"}',
    "list": b"[]",
    "text": b'"p1"',
    "null": b"null",
    "two documents": b"{}{}",
    "nothing in it": b"{}",
    "no method": b'{"participant_id":"p1"}',
    "key twice": _with('"method":"apple_pay"'),
    "unknown field": _with('"status":"COMPLETED"'),
    "unknown field, odd name": _with('"\\ud800\\u0000":1'),
    "number as id": b'{"participant_id":1,"method":"apple_pay"}',
    "NUL in id": b'{"participant_id":"p1\\u0000","method":"apple_pay"}',
    "raw NUL": b'{"participant_id":"p1\x00","method":"apple_pay"}',
    "lone surrogate": b'{"participant_id":"\\ud800","method":"apple_pay"}',
    "encoded surrogate": b'{"participant_id":"\xed\xa0\x80","method":"apple_pay"}',
    "long id": b'{"participant_id":"' + b"p" * 129 + b'","method":"apple_pay"}',
    "empty id": b'{"participant_id":"","method":"apple_pay"}',
    "unknown method": b'{"participant_id":"p1","method":"cash"}',
    "method in capitals": b'{"participant_id":"p1","method":"APPLE_PAY"}',
    "deep nesting": b"[" * 60_000,
    "deep object": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "amount as text": _with('"amount":"50.00","currency":"USD"'),
    "amount true": _with('"amount":true,"currency":"USD"'),
    "amount list": _with('"amount":[50],"currency":"USD"'),
    "amount NaN": _with('"amount":NaN,"currency":"USD"'),
    "amount Infinity": _with('"amount":-Infinity,"currency":"USD"'),
    "amount 1e400": _with('"amount":1e400,"currency":"USD"'),
    "amount 1e-400": _with('"amount":1e-400,"currency":"USD"'),
    "amount 1e-999999": _with('"amount":1e-999999,"currency":"USD"'),
    "amount 1e999999": _with('"amount":1e999999,"currency":"USD"'),
    "amount beyond Decimal": _with('"amount":1e99999999999999999999,"currency":"USD"'),
    "amount of 5000 digits": _with('"amount":' + "9" * 5000 + ',"currency":"USD"'),
    "amount of 5000 decimals": _with('"amount":0.' + "0" * 5000 + '1,"currency":"USD"'),
    "amount zero": _with('"amount":0,"currency":"USD"'),
    "amount negative": _with('"amount":-50.00,"currency":"USD"'),
    "amount three decimals": _with('"amount":50.001,"currency":"USD"'),
    "amount not the fee": _with('"amount":49.99,"currency":"USD"'),
    "amount without currency": _with('"amount":50.00'),
    "currency without amount": _with('"currency":"USD"'),
    "unknown currency": _with('"amount":50.00,"currency":"GBP"'),
    "no currency": _with('"amount":50.00,"currency":"US"'),
    "currency and a line": _with('"amount":50.00,"currency":"USD\\n"'),
    "currency without a fee": _with('"amount":50.00,"currency":"EUR"'),
    "javascript": _with('"return_url":"javascript:alert(1)"'),
    "file": _with('"return_url":"file:///etc/passwd"'),
    "no host": _with('"return_url":"https://"'),
    "relative": _with('"return_url":"/thanks"'),
    "user in the address": _with('"return_url":"https://kaspi.kz@evil.example/"'),
    "port": _with('"return_url":"https://a.kz:99999/"'),
    "line in the address": _with('"return_url":"https://a.kz/\\nb"'),
    "tab in the scheme": _with('"return_url":"ht\\ttps://a.kz/"'),
    "long address": _with('"return_url":"https://a.kz/' + "a" * 2000 + '"'),
    "broken address": _with('"return_url":"https://[::1"'),
}


@pytest.mark.parametrize("name", BAD)
async def test_invalid_bodies(served: Served, name: str) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate", content=BAD[name], headers=bearer() | {"Content-Type": "application/json"}
    )
    body = answer.json()
    assert (answer.status_code, body["status_code"]) == (400, 400), answer.text
    assert 0 < len(body["detail"]) <= 500
    assert body["detail"].isprintable()
    async with served.ctx.db.reading() as session:
        assert (await session.exec(select(Payment))).all() == []


#: Bodies that no route accepts.
NO_FORM = {
    "not JSON": b"{",
    "list": b"[]",
    "deep nesting": b"[" * 60_000,
    "deep object": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "unknown field": b'{"__proto__":{"role":"admin"}}',
    "key twice": b'{"reason":"x","reason":"y"}',
    "not UTF-8": b'{"reason":"\xff"}',
    "UTF-16": '{"reason":"x"}'.encode("utf-16"),
    "NUL": b'{"\x00":1}',
    "escaped NUL in a name": b'{"\\u0000":1}',
    "lone surrogate in a name": b'{"\\ud800":1}',
    "1e400": b'{"amount":1e400}',
    "beyond Decimal": b'{"amount":1e99999999999999999999}',
    "5000 digits": b'{"amount":' + b"9" * 5000 + b"}",
    "NaN": b'{"amount":NaN}',
}


async def test_malformed_json_is_refused_by_every_route(served: Served) -> None:
    asked = 0
    for row in table():
        if row.body is not None and row.path != f"{BASE}/webhooks/stripe":  # test_webhooks has its own
            path = row.path.replace("{payment_id}", "nothing")
            for name, content in NO_FORM.items():
                headers = bearer("u9", "admin") | {"Content-Type": "application/json"}
                answer = await served.api.request(row.method, path, content=content, headers=headers)
                assert (answer.status_code, answer.json()["status_code"]) == (400, 400), (path, name)
                assert answer.json()["detail"].isprintable()
                asked += 1
    assert asked >= 3 * len(NO_FORM)
    async with served.ctx.db.reading() as session:
        assert (await session.exec(select(Payment))).all() == []


@pytest.mark.parametrize(
    "good",
    [
        '"amount":50,"currency":"USD"',
        '"amount":5.0e1,"currency":"usd"',
        '"amount":24000.00,"currency":"KZT"',
        '"amount":null,"currency":null,"return_url":null',
        '"return_url":"http://app.procomp.kz:8443/\\u0436?a=b#c"',
    ],
)
async def test_valid_bodies(served: Served, good: str) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        content=_with(good),
        headers=bearer() | {"Content-Type": "application/json; charset=UTF-8"},
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["initiate", "admin/payments/x/refund", "admin/payments/x/verify-kaspi"])
@pytest.mark.parametrize("amount", ["50.00", "", True, [50], {"value": 50}])
async def test_an_amount_is_a_json_number(served: Served, path: str, amount: Any) -> None:
    answer = await served.api.post(
        f"{BASE}/{path}", json={"amount": amount, "currency": "USD"}, headers=bearer("boss", "admin")
    )
    assert answer.status_code == 400
    assert "amount: must be a JSON number such as 50.00" in answer.json()["detail"]


async def test_a_missing_fee_in_tenge_says_how_to_add_it(served: Served) -> None:
    async with served.ctx.db.writing() as session:
        fee = await session.get(TournamentFee, ("t1", Currency.KZT))
        await session.delete(fee)
    answer = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "kaspi_qr"}, headers=bearer()
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "fee_missing")
    assert "to add it: procomp-pay tournament fee t1 AMOUNT KZT" in answer.json()["detail"]


async def test_a_failure_reason_has_at_most_500_characters(served: Served) -> None:
    started = await served.initiate()
    async with served.ctx.db.writing() as session:
        payment = await session.get(Payment, started["payment_id"])
        assert payment is not None
        payment.failure_reason = "б" * 4000  # as an earlier version stored it
    assert len((await served.status())["failure_reason"]) == 500
    answer = await served.api.get(f"{BASE}/admin/payments", headers=bearer(role="staff"))
    assert len(answer.json()["items"][0]["failure_reason"]) == 500


async def test_the_amount_must_equal_the_fee(served: Served) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        content=BAD["amount not the fee"],
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert answer.json() == {
        "detail": "Payment amount must match tournament entry fee",
        "status_code": 400,
        "code": "amount_mismatch",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {},
    ],
)
async def test_wrong_content_type(served: Served, headers: dict[str, str]) -> None:
    content = f"{{{GOOD}}}".encode()
    if "Content-Encoding" in headers:
        content = gzip.compress(content)
    answer = await served.api.post(f"{BASE}/initiate", content=content, headers=bearer() | headers)
    assert (answer.status_code, answer.json()["status_code"]) == (415, 415)


async def _pieces(size: int) -> Any:
    for _ in range(size // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large(served: Served, chunked: bool) -> None:
    size = BODY_BYTES + 1024
    answer = await served.api.post(
        f"{BASE}/initiate",
        content=_pieces(size) if chunked else b" " * size,
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["status_code"]) == (413, 413)


async def test_the_largest_accepted_body(served: Served) -> None:
    body = f"{{{GOOD}}}".encode()
    answer = await served.api.post(
        f"{BASE}/initiate",
        content=body + b" " * (BODY_BYTES - len(body)),
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert answer.status_code == 200


async def test_without_a_token_bodies_are_not_validated(served: Served) -> None:
    answer = await served.api.post(f"{BASE}/initiate", content=b"{")
    assert answer.status_code == 401
