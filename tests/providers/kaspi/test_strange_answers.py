"""Answers with ``null``, other types and unprintable text: unknown is never a crash and never a guess."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import OutcomeUnknown, ProviderUnavailable, Refused
from procomp_pay.domain.events import EventType
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.protocol import ProviderRef, RefundRequest
from tests.support.provider_services import tenge_request

HANDLE = ProviderRef(Channel.KASPI_QR, "18000000001")
TIMERS = {"StatusPollingInterval": 7, "QrCodeScanWaitTimeout": 170, "PaymentConfirmationTimeout": 60}
NEW = {
    "QrToken": "1" * 41, "ExpireDate": "2026-11-23T12:03:00+05:00", "QrPaymentId": 18000000001,
    "QrPaymentBehaviorOptions": TIMERS,
}  # fmt: skip
USUAL = (5, 180, 65)

Make = Callable[..., KaspiPaymentService]


@pytest.fixture
async def kaspi() -> AsyncIterator[Make]:
    """Return a service whose Kaspi gives these answers by the end of the path: ``Data``, or a whole body."""
    made: list[KaspiPaymentService] = []

    def make(scheme: KaspiScheme = KaspiScheme.ENHANCED, **answers: Any) -> KaspiPaymentService:
        def answer(request: httpx.Request) -> httpx.Response:
            path = next(path for path in answers if path in request.url.path.replace("/", "_"))
            given = answers[path]
            body = (
                given if isinstance(given, bytes) else json.dumps({"StatusCode": 0, "Data": given}).encode()
            )
            return httpx.Response(200, content=body)

        http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1:1")
        service = KaspiPaymentService(
            http,
            scheme=scheme,
            device_token="d",
            organization_bin="0" * 12,
            total_s=0.5,
            url="http://127.0.0.1:1",
        )
        made.append(service)
        return service

    yield make
    for service in made:
        await service.aclose()


@pytest.mark.parametrize("value", [None, "None", "", True, 0, -1, 1.5, {}, [1], "12a", 2**63])
async def test_a_qr_without_a_readable_id_is_lost(kaspi: Make, value: object) -> None:
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        await kaspi(qr_create=NEW | {"QrPaymentId": value}).create(tenge_request(Channel.KASPI_QR))


@pytest.mark.parametrize("value", [None, "", 7, "a\x00b", "\ud800"])
async def test_a_qr_without_a_token_is_lost(kaspi: Make, value: object) -> None:
    with pytest.raises(OutcomeUnknown):
        await kaspi(qr_create=NEW | {"QrToken": value}).create(tenge_request(Channel.KASPI_QR))
    link = {"PaymentLink": value, "PaymentId": 1, "PaymentBehaviorOptions": None}
    with pytest.raises(OutcomeUnknown):
        await kaspi(qr_create=link).create(tenge_request(Channel.KASPI_LINK))


@pytest.mark.parametrize(
    ("timers", "expected"),
    [
        (TIMERS, (7, 170, 60)),
        (dict.fromkeys(TIMERS, "30"), (30, 30, 30)),
        (None, USUAL),
        ({}, USUAL),
        ([], USUAL),
        (dict.fromkeys(TIMERS), USUAL),
        (dict.fromkeys(TIMERS, -5), USUAL),
        (dict.fromkeys(TIMERS, 1.5), USUAL),
        (dict.fromkeys(TIMERS, 10**9), USUAL),
    ],
)
async def test_timers_that_are_not_told_are_the_usual_ones(
    kaspi: Make, timers: object, expected: tuple[int, int, int]
) -> None:
    answer = NEW | {"QrPaymentBehaviorOptions": timers, "ExpireDate": None}
    made = await kaspi(qr_create=answer).create(tenge_request(Channel.KASPI_QR))
    assert (made.poll_interval_s, made.scan_timeout_s, made.confirm_timeout_s) == expected
    assert (made.provider_ref, made.expires_at) == ("18000000001", None)


@pytest.mark.parametrize("status", [None, 7, "", {}, "Pro\x00cessed", "Seen"])
async def test_an_unknown_status_is_open_and_unclear(kaspi: Make, status: object) -> None:
    seen = await kaspi(payment_status={"Status": status}).fetch(HANDLE)
    assert (seen.event_type, seen.final, seen.unclear) == (None, False, True)
    assert seen.raw_status.isprintable()


@pytest.mark.parametrize(
    ("amount", "money"),
    [
        (24000.00, "24000"), ("24000.00", "24000"), ("24 000,00", None), ("", None), ({}, None), (True, None),
        ("NaN", None), ("1e5", None), ("2\x004", None), (24000.001, None),
    ],
)  # fmt: skip
async def test_an_amount_is_read_exactly_or_not_at_all(
    kaspi: Make, amount: object, money: str | None
) -> None:
    answer = {"Status": "Processed", "Amount": amount, "TransactionId": "1\x002"}
    seen = await kaspi(payment_status=answer).fetch(HANDLE)
    assert (seen.event_type, seen.final) == (EventType.SUCCEEDED, True)
    assert seen.money == (Money.parse(money, "KZT") if money else None)
    assert (seen.money_unreadable is None) is (money is not None)
    assert (seen.money_unreadable or "").isprintable()
    assert seen.ids.kaspi_operation is None


@pytest.mark.parametrize("told", [18000000002, "18000000002", "a", 0])
async def test_details_of_another_purchase_are_not_this_ones(kaspi: Make, told: object) -> None:
    details = {"QrPaymentId": 18000000001, "TotalAmount": 24000, "AvailableReturnAmount": 0}
    assert (await kaspi(payment_details=details).list_refunds(HANDLE)).total == Money.parse("24000", "KZT")
    service = kaspi(payment_details=details | {"QrPaymentId": told}, payment_status={"Status": "Processed"})
    for ask in (service.list_refunds, service.fetch):
        with pytest.raises(OutcomeUnknown, match="cannot be read"):
            await ask(HANDLE)


@pytest.mark.parametrize("left", [None, "", "a", [], 24001, float("nan")])
async def test_no_refund_is_sent_where_kaspis_total_is_not_readable(kaspi: Make, left: object) -> None:
    """A total of 0 would let the same money go back twice."""
    service = kaspi(payment_details={"TotalAmount": 24000, "AvailableReturnAmount": left})
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        await service.list_refunds(HANDLE)
    money = Money.parse("24000", "KZT")
    for again, error in ((False, ProviderUnavailable), (True, OutcomeUnknown)):
        request = RefundRequest("r1", "p1", HANDLE, money, "k", money - money, again)
        with pytest.raises(error):
            await service.refund(request)


@pytest.mark.parametrize("scheme", [KaspiScheme.ENHANCED, KaspiScheme.GATEWAY])
@pytest.mark.parametrize(
    "message", ["a\x00b", "\ud800\udc00x\ud800", "line\nline", 7, {"a": "\x00"}, "x" * 9999]
)
async def test_a_message_can_be_stored(kaspi: Make, scheme: KaspiScheme, message: object) -> None:
    document = {"StatusCode": 77, "Message": message}
    service = kaspi(scheme, qr_create=json.dumps(document).encode(), _=json.dumps(document).encode())
    with pytest.raises((Refused, OutcomeUnknown)) as caught:
        await service.create(tenge_request(Channel.KASPI_QR))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1500


@pytest.mark.parametrize("code", [b"null", b"0.5", b"false", b'"x"', b"[]", b"1e1000000", b"{}"])
async def test_a_status_code_that_is_not_a_number_is_no_success(kaspi: Make, code: bytes) -> None:
    body = b'{"StatusCode": %s, "Data": {"Status": "Processed"}}' % code
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        await kaspi(payment_status=body).fetch(HANDLE)


async def test_lists_with_strange_items(kaspi: Make) -> None:
    points = [None, 7, {"TradePointId": None}, {"TradePointId": "5", "TradePointName": None}]
    assert await kaspi(tradepoints=points).devices().trade_points() == [(5, "")]
    service = kaspi(
        KaspiScheme.STANDARD, return_create={"QrReturnId": 1, "QrToken": "t"}, operations=[None, {}]
    )
    qr = await service.refunds().open_qr("p1")
    assert (qr.interval_s, qr.wait_s) == (5, 180)
    assert not await service.refunds().is_theirs(qr, "18000000001")


@pytest.mark.parametrize("given", [None, {}, [], True, "a\x00"])
async def test_a_gateways_id_that_cannot_be_read_is_none(kaspi: Make, given: object) -> None:
    body = {"id": given, "payment_url": "https://pay.example/1", "status": "new"}
    service = kaspi(KaspiScheme.GATEWAY, _=json.dumps(body).encode())
    made = await service.create(tenge_request(Channel.KASPI_QR))
    assert (made.provider_ref, made.ids.kaspi_payment) == ("order:pay1", None)


@pytest.mark.parametrize(
    ("named", "is_ours"),
    [
        ({}, True),  # it names no payment: it cannot be checked
        ({"id": "inv_1"}, True),
        ({"id": "inv_1", "external_order_id": "pay1"}, True),
        ({"id": "inv_2"}, False),
        ({"id": "inv_1", "external_order_id": "pay2"}, False),
        ({"id": "inv_1", "externalOrderId": "pay2"}, False),
        ({"external_order_id": "pay2"}, False),
        ({"external_order_id": "pay1"}, True),
        ({"id": 17, "invoice_id": "inv_1"}, True),  # two ids of its own
        ({"id": "inv_2", "external_order_id": "pay1"}, True),  # a second one for our payment
        ({"id": "inv_1", "order_id": "17"}, True),  # may be a number of its own
        ({"order_id": "17"}, False),
    ],
)
async def test_a_gateways_answer_about_another_payment_is_none(
    kaspi: Make, named: dict[str, Any], *, is_ours: bool
) -> None:
    body = json.dumps(named | {"status": "partially_refunded", "amount": 24000, "refunded_amount": 9000})
    service = kaspi(KaspiScheme.GATEWAY, _=body.encode())
    ref = ProviderRef(Channel.KASPI_QR, "inv_1", payment_id="pay1")
    if is_ours:
        assert (await service.fetch(ref)).event_type is EventType.SUCCEEDED
        assert (await service.list_refunds(ref)).total == Money.parse("9000", "KZT")
        return
    for ask in (service.fetch, service.list_refunds):
        with pytest.raises(OutcomeUnknown, match="is about another payment"):
            await ask(ref)


async def test_a_gateways_unknown_currency_is_for_manual_review(kaspi: Make) -> None:
    body = {"id": HANDLE.provider_ref, "status": "paid", "amount": 24000, "currency": "XAU"}
    seen = await kaspi(KaspiScheme.GATEWAY, _=json.dumps(body).encode()).fetch(HANDLE)
    assert (seen.event_type, seen.money, seen.money_unreadable) == (EventType.SUCCEEDED, None, "24000 XAU")


@pytest.mark.parametrize("channel", [Channel.KASPI_QR, Channel.KASPI_REMOTE])
async def test_a_proxy_that_opens_no_tunnel_sends_nothing(channel: Channel) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        service = KaspiPaymentService(
            httpx.AsyncClient(base_url="https://kaspi.example", proxy=proxy),
            scheme=KaspiScheme.ENHANCED,
            device_token="d",
            organization_bin="0" * 12,
            total_s=0.1,
            url="https://kaspi.example",
        )
        with pytest.raises(ProviderUnavailable):
            await service.create(replace(tenge_request(channel), phone="87071234567"))
        await service.aclose()
