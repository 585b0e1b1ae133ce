"""``/webhooks/kaspi`` over real HTTP, called by the sandbox as Kaspi and as a gateway, and directly."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from pydantic import SecretStr

from procomp_pay.config import Settings, load_settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.api.kaspi_webhooks import is_allowed
from procomp_pay.server.api.routes import BASE
from procomp_pay.storage.models import exact_json
from tests.support.http_requests import inbox, rename_table
from tests.support.server import Eventually, Serve, Served

HOOK = f"{BASE}/webhooks/kaspi"
SECRET = "a secret made for this test"
PAY = "command=pay&txn_id=777000111&account=p1&sum=24000.00&txn_date=20260115190000"


@pytest.fixture
async def hooked(serve: Serve) -> Served:
    """A server that Kaspi and a gateway may call from this machine."""
    return await serve(
        kaspi_callback_allow="192.0.2.0/24, 127.0.0.1",
        kaspi_api_secret=SecretStr(SECRET),
        kaspi_organization_bin="123456789012",
    )


async def get(served: Served, query: str, **headers: str) -> httpx.Response:
    return await served.api.get(f"{HOOK}?{query}", headers=headers)


async def respond(served: Served, query: str) -> Any:
    got = await get(served, query)
    assert got.status_code == 200, got.text
    return exact_json.loads(got.content)


# --- the bill protocol


async def test_kaspi_pays_a_bill(hooked: Served) -> None:
    """Let the sandbox call as Kaspi does: check, then pay, and pay once more."""
    code = (await hooked.api.get(f"{HOOK}?command=check&txn_id=1&account=p1&sum=1")).json()
    assert code["result"] == 0
    order = {"url": hooked.url + HOOK, "account": "p1", "sum": "24000.00", "txn_id": "777000111"}
    calls = [
        (await hooked.control.post("/_sandbox/kaspi/bill", json=order | {"command": command})).json()
        for command in ("check", "pay", "pay", "check")
    ]
    answers = [exact_json.loads(call["answer"]) for call in calls]
    assert [answer["result"] for answer in answers] == [0, 0, 0, 3]
    assert answers[1] == answers[2]
    assert answers[1]["prv_txn"] == answers[1]["prv_txn_id"]
    assert (answers[1]["txn_id"], answers[1]["bin"]) == ("777000111", "123456789012")
    assert '"sum":24000.00' in calls[1]["answer"]
    assert (await hooked.status("p1"))["status"] == "COMPLETED"


async def test_responses_in_json_and_xml(hooked: Served) -> None:
    json_form, xml_form = (await get(hooked, PAY)), (await get(hooked, f"{PAY}&format=xml"))
    assert (await get(hooked, PAY)).content == json_form.content
    assert (await get(hooked, PAY, Accept="application/xml")).content == xml_form.content
    assert xml_form.headers["Content-Type"] == "application/xml; charset=utf-8"
    root = ET.fromstring(xml_form.text)
    assert root.tag == "response"
    fields = {item.tag: item.text for item in root}
    document = json_form.json()
    assert fields == {
        "txn_id": "777000111", "prv_txn": document["prv_txn"], "prv_txn_id": document["prv_txn"],
        "result": "0", "sum": "24000.00", "bin": "123456789012", "comment": "OK",
    }  # fmt: skip


QUERIES: list[tuple[str, int]] = [
    ("", 5),
    ("command=check", 5),
    ("command=refund&txn_id=1&account=p1&sum=1", 5),
    ("command=check&command=pay&txn_id=1&account=p1&sum=1", 5),
    ("command=check&txn_id=1&account=nobody&sum=1", 1),
    ("command=check&txn_id=1&account=&sum=1", 1),
    ("command=check&txn_id=1&sum=1", 1),
    ("command=check&txn_id=1&account=%00&sum=1", 1),
    ("command=check&txn_id=1&account=p1%00&sum=1", 1),
    ("command=check&txn_id=1&account=%ED%A0%80%FF&sum=1", 1),
    ("command=check&txn_id=1&account=" + "x" * 3000 + "&sum=1", 1),
    ("command=check&txn_id=1&account=p1%27%20OR%201=1&sum=1", 1),
    ("command=check&txn_id=%00&account=p1&sum=1", 5),
    ("command=check&txn_id=&account=p1&sum=1", 5),
    ("command=check&txn_id=1&txn_id=2&account=p1&sum=1", 5),
    ("command=check&txn_id=1&account=p1&account=p2&sum=1", 5),
    ("command=check&txn_id=1&account=p1", 0),
    ("command=check&txn_id=1&account=p1&sum=NaN&extra=1", 0),
    ("command=pay&txn_id=%00&account=p1&sum=24000", 5),
    ("command=pay&txn_id=2&account=p1&sum=a+lot", 5),
    ("command=pay&txn_id=3&account=nobody&sum=24000", 1),
    ("command=pay&txn_id=4&account=p1&sum=24000&txn_date=99999999999999", 0),
    ("command=pay&txn_id=5&account=p1&sum=1.00", 0),
    ("command=check&txn_id=%3Cx%3E&account=p1&sum=1&format=xml", 5),
]


async def test_malformed_bill_requests_get_a_result(hooked: Served) -> None:
    for query, result in QUERIES:
        got = await get(hooked, query)
        assert got.status_code == 200
        if "format=xml" in query:
            found = ET.fromstring(got.text).findtext("result")
        else:
            found = str(got.json()["result"])
        assert found == str(result), query


async def test_payments_for_unknown_accounts_are_stored(hooked: Served) -> None:
    for query in (
        "txn_id=%00&account=p1&sum=24000",
        "txn_id=2&account=p1&sum=a+lot",
        "txn_id=3&account=x&sum=1",
    ):
        for _ in range(2):
            await get(hooked, f"command=pay&{query}")
    rows = await inbox(hooked.ctx)
    assert len(rows) == 3
    assert {row.state for row in rows} == {"foreign"}


async def test_only_get_pays_a_bill(hooked: Served) -> None:
    for method in ("HEAD", "PUT", "DELETE"):
        got = await hooked.api.request(method, f"{HOOK}?{PAY}")
        assert got.status_code == 405
    assert await inbox(hooked.ctx) == []


async def test_bill_requests_without_the_database(hooked: Served) -> None:
    """Expect a result for a check, and a 503 for a pay: any result would be final, with the money taken."""
    await rename_table(hooked.ctx, "pay_webhook_event", "away")
    await rename_table(hooked.ctx, "pay_tournament_fee", "away_too")
    try:
        assert (await respond(hooked, "command=check&txn_id=1&account=p1&sum=1"))["result"] == 5
        refused = await get(hooked, PAY)
        assert (refused.status_code, refused.json()["status_code"]) == (503, 503)
        assert refused.headers["Retry-After"]
    finally:
        await rename_table(hooked.ctx, "away", "pay_webhook_event")
        await rename_table(hooked.ctx, "away_too", "pay_tournament_fee")
    assert (await respond(hooked, PAY))["result"] == 0


# --- who may call


@pytest.mark.parametrize("allow", [None, "", "192.0.2.1", "10.0.0.0/8,2001:db8::/32"])
async def test_other_addresses_may_not_call(serve: Serve, allow: str | None) -> None:
    served = await serve(kaspi_callback_allow=allow, kaspi_api_secret=SecretStr(SECRET))
    got = await get(served, PAY, **{"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.1"})
    assert (got.status_code, got.json()["status_code"]) == (403, 403)
    assert await inbox(served.ctx) == []


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("::ffff:c000:0207", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.3.7", False),
        ("::192.0.2.7", False),  # an old form that is not IPv4 in IPv6
        ("64:ff9b::192.0.2.7", False),
        ("2001:db8::1", True),
        ("2001:db8::1%eth0", True),
        ("2001:db9::1", False),
        ("192.0.2.7, 10.0.0.1", False),
        ("0300.0.2.7", False),
        ("", False),
        (None, False),
        ("unix:", False),
        ("kaspi.kz", False),
    ],
)
def test_address_is_in_a_network(address: str | None, inside: bool) -> None:
    networks = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32")]
    assert is_allowed(address, list(networks)) is inside


def test_invalid_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KASPI_CALLBACK_ALLOW", " 194.187.247.152 ,10.0.0.1/24,, ::1 ")
    networks = [str(network) for network in load_settings().callback_networks]
    assert networks == ["194.187.247.152/32", "10.0.0.0/24", "::1/128"]
    monkeypatch.setenv("KASPI_CALLBACK_ALLOW", "kaspi.kz")
    with pytest.raises(ConfigurationError, match="KASPI_CALLBACK_ALLOW"):
        load_settings()
    assert Settings(_env_file=None, kaspi_callback_allow=None).callback_networks == []


# --- a gateway


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Webhook-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


async def test_a_gateway_callback_settles_a_payment(hooked: Served, eventually: Eventually) -> None:
    payment = (await hooked.initiate("p1", "kaspi_qr"))["payment_id"]
    [row] = (await hooked.control.get("/_sandbox/kaspi/payments")).json()
    order = {"url": hooked.url + HOOK, "secret": SECRET, "payment": str(row["QrPaymentId"])}
    answer = (await hooked.control.post("/_sandbox/kaspi/callback", json=order)).json()
    assert (answer["status"], answer["sent"]["invoice"]["external_order_id"]) == (200, payment)
    await hooked.until_completed()
    for change in ({"secret": "another"}, {"timestamp": -3600}):
        answer = (await hooked.control.post("/_sandbox/kaspi/callback", json=order | change)).json()
        assert answer["status"] == 400, answer
    assert len(await inbox(hooked.ctx)) == 1


async def test_invalid_gateway_signatures_are_refused(hooked: Served) -> None:
    body = b'{"id": "inv_1", "status": "paid"}'
    good = signed(body)
    post = hooked.api.post
    assert (await post(HOOK, content=body)).status_code == 400
    assert (await post(HOOK, content=body + b" ", headers=good)).status_code == 400
    assert (await post(HOOK, content=body, headers=signed(body, "x"))).status_code == 400
    both = [*good.items(), ("X-Signature", good["X-Webhook-Signature"])]
    assert (await post(HOOK, content=body, headers=both)).status_code == 400
    twice = [*good.items(), *good.items()]
    assert (await post(HOOK, content=body, headers=twice)).status_code == 400
    squeezed = good | {"Content-Encoding": "gzip"}
    assert (await post(HOOK, content=body, headers=squeezed)).status_code == 415
    large = b"{" + b" " * (1024 * 1024) + b"}"
    assert (await post(HOOK, content=large, headers=signed(large))).status_code == 413
    assert await inbox(hooked.ctx) == []
    accepted = [(await post(HOOK, content=body, headers=good)).status_code for _ in range(3)]
    assert accepted == [200] * 3
    assert len(await inbox(hooked.ctx)) == 1


async def test_without_networks_a_valid_signature_is_enough(serve: Serve) -> None:
    served = await serve(kaspi_api_secret=SecretStr(SECRET))
    body = b'{"id": "inv_1", "status": "paid"}'
    assert (await served.api.post(HOOK, content=body, headers=signed(body))).status_code == 200
    assert (await get(served, PAY)).status_code == 403
