"""The page of a payment over HTTP: what it shows, to whom, and how it follows the payment."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import pytest
from pypdf import PdfReader

from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.server.api.routes import document
from procomp_pay.server.pages import streams
from procomp_pay.server.pages.routes import STREAMS
from procomp_pay.services.context import SYSTEM
from procomp_pay.services.initiation.initiate import InitiatedPayment, initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.registrations.participants import participant_view
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.views import page_link
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.platform import Participant
from tests.server.pages.conftest import page_of
from tests.support.patience import PATIENCE_S
from tests.support.server import Eventually, Serve, Served

_JSON = {"Accept": "application/json"}


async def phone(served: Served, payment_id: str, action: str = "pay") -> None:
    """Act in the customer's Kaspi app."""
    reference = (await views.one(served.ctx, payment_id)).provider_ref
    answer = await served.control.post(f"/pay/{reference}", json={"action": action}, headers=_JSON)
    assert answer.status_code == 200, answer.text


async def started_checkout(served: Served, participant_id: str) -> InitiatedPayment:
    """Start a wallet payment on Stripe's page, as the desk does."""
    request = InitiateRequest(participant_id, PaymentMethod.GOOGLE_PAY, Channel.STRIPE_CHECKOUT)
    return await initiate(served.ctx, request, SYSTEM)


def plain(html: str) -> str:
    """Return the text of a page as it is read."""
    body = re.sub(r"(?s)<(script|style|head).*?</\1>", " ", html)
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.mark.parametrize(
    ("language", "heading", "amount"),
    [
        ("ru-RU,ru;q=0.9", "Оплатите в приложении Kaspi", "24 000,00 ₸"),
        ("kk", "Kaspi қосымшасында төлеңіз", "24 000,00 ₸"),
        ("en-GB", "Pay in the Kaspi app", "24,000.00 KZT"),
        ("de", "Оплатите в приложении Kaspi", "24 000,00 ₸"),
    ],
)
async def test_an_open_qr_in_the_language_of_the_browser(
    served: Served, web: httpx.AsyncClient, language: str, heading: str, amount: str
) -> None:
    started = await served.initiate(method="kaspi_qr")
    answer = await web.get(
        await page_of(served, started["payment_id"]), headers={"Accept-Language": language}
    )
    assert answer.status_code == 200
    text = plain(answer.text)
    for words in (heading, amount, "Кубок", "А. С."):
        assert words in text
    assert re.search(r"data-left=\"\d+\">\d+:\d\d<", answer.text), "the countdown works without a script"
    assert '<noscript><meta http-equiv="refresh"' in answer.text
    assert "<svg" in answer.text


async def test_it_shows_nothing_else(served: Served, web: httpx.AsyncClient) -> None:
    async with served.ctx.db.writing() as session:
        participant = await session.get(Participant, "p1")
        assert participant is not None
        participant.full_name = "Нұрланова Қарлығаш"
    started = await served.initiate(method="kaspi_qr")
    answer = await web.get(await page_of(served, started["payment_id"]))
    assert "Қарлығаш Н." in answer.text
    for secret in ("Нұрланова", "u1@example.kz", "u1", "p1", "t1", started["payment_id"]):
        assert not re.search(rf"\b{re.escape(secret)}\b", plain(answer.text)), secret


async def test_nobody_else_may_frame_index_or_keep_it(served: Served, web: httpx.AsyncClient) -> None:
    started = await served.initiate()
    path = await page_of(served, started["payment_id"])
    answer = await web.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[k]) for k in ("style-src", "script-src"))
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert not re.findall(r"(?:src|href)=\"(?!/p/|\?lang=|data:)", answer.text), "no third party"
    assert "/p/" not in document(), "it is no part of the API"


async def test_a_tampered_link_finds_nothing(served: Served, web: httpx.AsyncClient) -> None:
    one = await page_of(served, (await served.initiate("p1"))["payment_id"])
    other = await page_of(served, (await served.initiate("p3"))["payment_id"])
    key, _, signature = one.removeprefix("/p/").rpartition("-")
    other_key = other.removeprefix("/p/").rpartition("-")[0]
    last = "a" if signature[-1] != "a" else "b"
    wrong = [
        f"{other_key}-{signature}", f"{key}-{signature[:-1]}{last}", f"{key}-{signature[:-1]}", f"{key}-",
        key, f"-{signature}", f"{key.upper()}-{signature}", "x" * 300, "%D0%B0-%FF", "..%2Fhealth",
    ]  # fmt: skip
    bodies = set()
    for code in wrong:
        for end in ("", "/events", "/pay", "/receipt.pdf"):
            answer = await web.get(f"/p/{code}{end}", headers={"Accept-Language": "ru"})
            assert answer.status_code == 404, (code, end)
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            bodies.add(answer.text)
    assert len(bodies) == 1, "all wrong links look alike"
    assert "Такой страницы нет" in bodies.pop()
    assert (await web.get(one)).status_code == 200
    assert len(served.url) + len(one) < 80, "short enough for a QR in a terminal"


async def test_guessing_is_counted(serve: Serve) -> None:
    served = await serve(rate_limit_failures="3/minute")
    path = await page_of(served, (await served.initiate())["payment_id"])
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as web:
        statuses = [(await web.get(f"/p/k7qx2m9r-{n:016}")).status_code for n in range(5)]
        assert statuses == [404, 404, 404, 429, 429]
        assert (await web.get(path)).status_code == 200, "a right link is not refused for it"


async def test_a_wallet_payment_leads_to_its_page_and_back_once_it_is_over(
    served: Served, web: httpx.AsyncClient
) -> None:
    payment_id = (await started_checkout(served, "p1")).payment_id
    path = await page_of(served, payment_id)
    answer = await web.get(path, headers={"Accept-Language": "en"})
    assert "Pay with Google Pay" in answer.text
    assert "/c/pay/" not in answer.text, "the long link is not in the page"
    opening = await views.opening(served.ctx, payment_id)
    assert (await web.get(f"{path}/pay")).headers["Location"] == opening.payment_url
    await cancel(served.ctx, payment_id, SYSTEM)
    answer = await web.get(path, headers={"Accept-Language": "en"})
    assert "This payment was cancelled" in answer.text
    assert (await web.get(f"{path}/pay")).headers["Location"] == path


async def events(web: httpx.AsyncClient, path: str, until: str, **headers: str) -> str:
    """Read a stream until it has sent these words, or ends."""
    read = ""
    async with (
        asyncio.timeout(PATIENCE_S),
        web.stream("GET", f"{path}/events?lang=en", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        async for part in answer.aiter_text():
            read += part
            if until in read:
                break
    return read


async def test_the_stream_tells_each_state_and_ends_with_the_last(
    served: Served, web: httpx.AsyncClient
) -> None:
    started = await served.initiate(method="kaspi_qr")
    path = await page_of(served, started["payment_id"])
    pages = [asyncio.create_task(events(web, path, "never")) for _ in range(3)]
    await events(web, path, "Pay in the Kaspi app")
    await phone(served, started["payment_id"], "scan")
    await events(web, path, "Confirm the payment in the Kaspi app")
    await phone(served, started["payment_id"], "confirm")
    for read in await asyncio.gather(*pages):
        states = re.findall(r"^data: <h1>.*?([A-Z][^<]*)</h1>", read, re.M)
        assert states == ["Pay in the Kaspi app", "Confirm the payment in the Kaspi app", "Paid"]
        assert read.endswith("event: end\ndata:\n\n")
        assert read.count("retry: ") == 1
    assert "data-events" not in (await web.get(path)).text, "a final page opens no stream"


async def test_streams_are_bounded_and_share_one_reader(
    served: Served, web: httpx.AsyncClient, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_OF_ONE", 2)
    path = await page_of(served, (await served.initiate(method="kaspi_qr"))["payment_id"])
    followed = served.app[STREAMS]._followed
    async with web.stream("GET", f"{path}/events"), web.stream("GET", f"{path}/events"):
        assert [each.pages for each in followed.values()] == [2]
        third = await web.get(f"{path}/events")
        assert third.status_code == 503
        assert int(third.headers["Retry-After"]) > 0

    async def nobody() -> bool:
        return not followed

    await served.app[STREAMS].stop()
    await eventually(nobody)


async def test_a_server_that_stops_ends_its_streams_at_once(serve: Serve, eventually: Eventually) -> None:
    served = await serve()

    async def followed() -> bool:
        return bool(served.app[STREAMS]._followed)

    path = await page_of(served, (await served.initiate(method="kaspi_qr"))["payment_id"])
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as web:
        reading = asyncio.create_task(events(web, path, "never"))
        await eventually(followed)
        begun = asyncio.get_running_loop().time()
        await served.app.shutdown()
        assert "event: end" not in await reading, "the browser opens it again at the next process"
        assert asyncio.get_running_loop().time() - begun < 60


async def test_a_database_that_is_away_is_told_to_people(serve: Serve) -> None:
    from tests.support.http_requests import rename_table

    served = await serve()
    path = await page_of(served, (await served.initiate())["payment_id"])
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as web:
        await rename_table(served.ctx, "pay_payment_detail", "away")
        try:
            answer: Any = await web.get(path, headers={"Accept-Language": "en"})
        finally:
            await rename_table(served.ctx, "away", "pay_payment_detail")
    assert answer.status_code >= 500
    assert "pay_payment_detail" not in answer.text


async def test_the_link_shows_nothing_of_whom_the_payment_was_moved_to(
    served: Served, web: httpx.AsyncClient, eventually: Eventually
) -> None:
    async with served.ctx.db.writing() as session:
        former = await session.get(Participant, "p1")
        assert former is not None
        values = former.model_dump() | {"id": "brother", "full_name": "Тимур Оспанов", "payment_id": None}
        session.add(Participant(**values))
    payment_id = (await served.initiate("p1", method="kaspi_qr"))["payment_id"]
    path = await page_of(served, payment_id)
    stream = asyncio.create_task(events(web, path, "never"))
    await phone(served, payment_id)
    assert "Paid" in await stream
    await move_payment(served.ctx, payment_id, "brother", SYSTEM, reason="the brother", former_id="p1")
    for end in ("", "/events", "/pay", "/receipt.pdf"):
        answer = await web.get(f"{path}{end}", headers={"Accept-Language": "ru"})
        assert (answer.status_code, "Тимур" in answer.text) == (404, False), end
    answer = await web.get(await page_of(served, payment_id), headers={"Accept-Language": "ru"})
    assert (answer.status_code, "Тимур О." in answer.text) == (200, True)


async def test_a_paid_payment_has_a_receipt_without_surname_and_ids(
    served: Served, web: httpx.AsyncClient, eventually: Eventually
) -> None:
    async with served.ctx.db.writing() as session:
        participant = await session.get(Participant, "p1")
        assert participant is not None
        participant.full_name = "Нұрланова Қарлығаш"
    started = await served.initiate(method="kaspi_qr")
    path = await page_of(served, started["payment_id"])
    assert (await web.get(f"{path}/receipt.pdf")).status_code == 404, "not paid yet"
    await phone(served, started["payment_id"])

    async def is_paid() -> bool:
        return "receipt.pdf" in (await web.get(path)).text

    await eventually(is_paid)
    answer = await web.get(f"{path}/receipt.pdf?lang=kk")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    [page] = PdfReader(BytesIO(answer.content)).pages
    text = page.extract_text().replace("\N{NO-BREAK SPACE}", " ")
    code = (await views.one(served.ctx, started["payment_id"])).code
    for words in (
        "Төлем түбіртегі",
        "24 000,00 ₸",
        "Қарлығаш Н.",
        "[SANDBOX]",
        str(code),
        "фискалдық чек емес",
    ):
        assert words in text
    assert "Нұрланова" not in text
    assert started["payment_id"] not in text


async def test_reminders_are_stopped_by_a_signed_link(served: Served, web: httpx.AsyncClient) -> None:
    started = await served.initiate(method="kaspi_qr")
    participant_id = (await views.one(served.ctx, started["payment_id"])).participant_id
    ctx = replace(served.ctx, is_public=True)
    url = page_link.reminders_url(ctx, participant_id)
    assert url is not None
    path = "/r/" + url.rsplit("/", 1)[1]
    for _ in range(2):  # a scanner opens it
        shown = await web.get(path, headers={"Accept-Language": "en"})
        assert "Stop the reminders" in shown.text
        assert "form-action 'self'" in shown.headers["Content-Security-Policy"]
    assert (await participant_view(ctx, participant_id)).reminders
    done = await web.post(path, data={"List-Unsubscribe": "One-Click"}, headers={"Accept-Language": "ru"})
    assert (done.status_code, "Напоминания больше не будут приходить" in done.text) == (200, True)
    assert not (await participant_view(ctx, participant_id)).reminders
    assert "Stop the reminders" not in (await web.get(path, headers={"Accept-Language": "en"})).text
    other = path.replace(participant_id, participant_id + "x")
    assert (await web.post(other)).status_code == 404
    page = page_link.page_address(ctx, participant_id).rsplit("/", 1)[1]
    assert (await web.post(f"/r/{page}")).status_code == 404, "a signature for another purpose"
