"""``desk``: from a name to PAID, and everything else that happens at a desk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Footer

from procomp_pay.cli.desk import person, reads
from procomp_pay.cli.desk import refund as refund_dialog
from procomp_pay.cli.desk.app import DeskScreen
from procomp_pay.cli.desk.person import PersonScreen
from procomp_pay.cli.display import qr
from procomp_pay.domain.events import Source
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.providers.kaspi.refunds import RefundQr
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.cancel import cancel as cancel_payment
from procomp_pay.services.refunds.create import Plan, RefundCommand
from procomp_pay.services.registrations.participants import add_participant
from procomp_pay.services.registrations.terms import set_refund_policy
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.page_link import page_url
from tests.cli.desk.conftest import Desk, OpenDesk
from tests.support.patience import PATIENCE_S


async def start(desk: Desk, name: str, participant_id: str, letter: str = "k") -> views.PaymentView:
    """Search, open and charge a person; return the payment."""
    await desk.opens(name)
    await desk.press(letter)
    await desk.sees("left")
    return (await desk.payments(participant_id))[0]


def begins_with(desk: Desk, code: list[str]) -> bool:
    """Whether the upper left corner of the screen is this picture."""
    width = len(code[0])
    return [line[:width].ljust(width) for line in desk.lines[: len(code)]] == code


async def test_from_a_name_to_paid_and_the_next(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.sees("Who waits", "not paid: ", "TEST: no real money moves")
        payment = await start(desk, "нурл", "p1")
        await desk.sees("Аида Нурланова", "Kata", "24,000 KZT · Kaspi QR", str(payment.code))
        await desk.pay(payment)
        await desk.sees("✓ PAID", "taken by aigerim")
        await desk.until(lambda: desk.bells == 1, "the bell does not ring once")
        await desk.press("enter")
        await desk.sees("Who waits")
        payment = await start(desk, "timur", "p2")
        await desk.sees("Timur")
        assert payment.status is PaymentStatus.PENDING


@pytest.mark.parametrize("no_color", [True, False])
async def test_the_qr_is_whole_at_80_by_24(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    if not no_color:
        monkeypatch.delenv("NO_COLOR")
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        payload = (await views.opening(desk.app.ctx, payment.payment_id)).qr_payload
        code = qr.lines(qr.picture(str(payload)), ink_is_dark=True)
        await desk.until(lambda: begins_with(desk, code), "the QR is not whole")
        drawn = [
            strip.crop(0, len(code[0])) for strip in desk.app.screen._compositor.render_strips()[: len(code)]
        ]
        colours = {
            (each.style.color.triplet, each.style.bgcolor.triplet) for strip in drawn for each in strip
        }
        assert colours == {((0, 0, 0), (255, 255, 255))}  # a phone needs a dark code on a light ground
        assert all(len(line) <= 80 for line in desk.lines)
        assert len(desk.lines) == 24


@pytest.mark.parametrize("is_public", [True, False])
async def test_a_link_too_long_for_the_window(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, is_public: bool
) -> None:
    """Stripe's links have about 380 characters; that of the payment's page is short, if phones reach it."""
    if is_public:
        monkeypatch.setenv("PUBLIC_BASE_URL", "https://pay.example.kz")
    real = views.opening

    async def with_a_long_link(ctx: AppContext, payment_id: str) -> views.Opening:
        opening = await real(ctx, payment_id)
        return replace(opening, qr_payload=f"{opening.payment_url}#{'x' * 330}")

    monkeypatch.setattr(views, "opening", with_a_long_link)
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        if is_public:
            code = qr.lines(qr.picture(page_url(desk.app.ctx, payment)), ink_is_dark=True)
            await desk.until(lambda: begins_with(desk, code), "it is not the short link's QR")
        else:
            await desk.sees("The QR of this link needs", "has 80 x 24", "Make the window larger")
        assert all(len(line) <= 80 for line in desk.lines)
        await desk.until(lambda: "Cancel" in desk.lines[23], "the keys are not in the last line")


async def test_a_key_that_is_hit_twice_makes_one_payment(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.opens("timur")
        await desk.press("k", "k", "л", "k")
        await desk.sees("left")
        await desk.press("k", "k")
        await desk.pilot.pause(0.3)
        [payment] = await desk.payments("p2")
        assert payment.status is PaymentStatus.PENDING


async def test_keys_of_the_russian_layout(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "ф")
        assert payment.method == "APPLE_PAY"
        await desk.press("с")
        await desk.sees("Cancel this payment")
        await desk.press("н")  # нет, although it is the key of y
        await desk.until(lambda: "Cancel this payment" not in desk.text, "it stayed")
        assert (await desk.payments("p2"))[0].status is PaymentStatus.PENDING
        await desk.press("с")
        await desk.sees("Cancel this payment", "y Yes")
        await desk.press("д")
        await desk.sees("Apple Pay: Not paid: cancelled.")
        await desk.press("Л")
        await desk.sees("24,000 KZT · Kaspi QR")


async def test_decline_and_retry(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.pay(payment, "scan")
        await desk.sees("Scanned. The customer is confirming now.")
        await desk.pay(payment, "cancel")
        await desk.sees("Not paid: Kaspi declined")
        await desk.press("k")
        await desk.sees("left")
        retried, declined = await desk.payments("p2")
        assert (declined.status, retried.status) == (PaymentStatus.FAILED, PaymentStatus.PENDING)
        await desk.pay(retried)
        await desk.sees("✓ PAID")


async def test_a_declined_card_can_be_tried_again_on_the_same_page(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        await desk.pay(payment, "declined")
        await desk.sees("The bank declined.", "can try again on the same page.", "Cancel")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")


async def test_another_method_is_asked_for_while_one_is_open(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await start(desk, "timur", "p2", "a")
        await desk.press("k")
        await desk.sees("A payment by Apple Pay is still open")
        await desk.press("escape")
        assert len(await desk.payments("p2")) == 1
        await desk.press("k")
        await desk.sees("A payment by Apple Pay is still open")
        await desk.press("y")
        await desk.sees("24,000 KZT · Kaspi QR")
        kaspi, apple = await desk.payments("p2")
        assert (kaspi.status, apple.status) == (PaymentStatus.PENDING, PaymentStatus.CANCELLED)


async def test_the_first_qr_is_paid_after_the_method_was_changed(open_desk: OpenDesk) -> None:
    """Kaspi cannot recall its QR: the page of the second method must leave the screen at once."""
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.also_by_apple_pay()
        await desk.pay(payment)
        await desk.sees("✓ PAID", "24,000 KZT · Kaspi QR")
        assert "✓ PAID Timur" not in desk.text, "it is on the screen, not news of another person"
        await desk.until(lambda: desk.bells == 1, "the bell does not ring once")


async def test_the_first_qr_is_shown_again_after_the_second_method_was_cancelled(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        code = code_of(desk)
        await desk.also_by_apple_pay()
        assert code_of(desk) != code
        await desk.press("c")
        await desk.sees("Cancel this payment", "Apple Pay")
        await desk.press("y")
        await desk.sees("24,000 KZT · Kaspi QR", "left", str(payment.code))
        assert code_of(desk) == code


async def test_the_first_qr_is_not_shown_again_after_the_second_method_was_refunded(
    open_desk: OpenDesk,
) -> None:
    async with open_desk() as desk:
        first = await start(desk, "timur", "p2")
        await desk.also_by_apple_pay()
        second = (await desk.payments("p2"))[0]
        await desk.pay(second, "apple_pay")
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record", str(second.code))
        await desk.type("ill")
        await desk.press("enter")
        await desk.sees("y Refund it")
        await desk.press("y")
        await desk.sees("24,000 KZT refunded.")
        await desk.press("escape")
        await desk.sees("k Kaspi")
        await desk.until(lambda: not desk.app.screen.query_one("#code").display, "a QR is shown")
        assert "left" not in desk.text
        assert str(first.code) not in desk.text


def code_of(desk: Desk) -> str:
    """Return what the QR on the screen holds."""
    screen = desk.app.screen
    assert isinstance(screen, PersonScreen)
    assert screen._opening is not None
    return str(screen._opening.qr_payload)


async def test_news_that_comes_during_a_read_stays(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        screen = desk.app.screen
        assert isinstance(screen, PersonScreen)
        before = await reads.record(desk.app.ctx, screen.record.person)

        async def late(*_given: object) -> reads.Record:
            return before

        await desk.pay(payment)
        await desk.sees("✓ PAID")
        monkeypatch.setattr(reads, "record", late)
        await screen._reload()
        await desk.sees("✓ PAID")
        assert screen.record.paid is not None


async def test_paid_at_another_desk_meanwhile(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, open_desk(operator="dana") as other:
        payment = await start(desk, "timur", "p2")
        await desk.press("escape")
        await other.opens("timur")
        await other.sees("left")
        await other.also_by_apple_pay()
        await desk.pay(payment)
        await other.sees("✓", "PAID", "24,000 KZT · Kaspi QR")
        await desk.sees("✓ PAID Timur")


async def test_the_bell_can_be_off(open_desk: OpenDesk) -> None:
    async with open_desk(bell=False) as desk:
        await desk.pay(await start(desk, "timur", "p2"))
        await desk.sees("✓ PAID")
        assert desk.bells == 0


async def test_cancel(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await start(desk, "timur", "p2")
        await desk.press("c")
        await desk.sees("Cancel this payment of 24,000 KZT by Kaspi QR?")
        await desk.press("escape")
        await desk.sees("left")
        await desk.press("c")
        await desk.sees("Cancel this payment")
        await desk.press("y")
        await desk.sees("Kaspi cannot recall a QR: it stays valid until")
        assert (await desk.payments("p2"))[0].status is PaymentStatus.CANCELLED


async def test_already_paid_by_whom_and_when(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, open_desk(operator="dana") as other:
        payment = await start(desk, "timur", "p2")
        await desk.pay(payment)
        await desk.sees("✓ PAID")
        await other.opens("timur")
        await other.sees("✓ ALREADY PAID", "24,000 KZT · Kaspi QR", "taken by aigerim", str(payment.code))
        await other.press("k")
        await other.pilot.pause(0.3)
        assert len(await desk.payments("p2")) == 1


async def test_two_clerks_charge_one_person_at_once(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, open_desk(operator="dana") as other:
        for each in (desk, other):
            await each.opens("timur")
        await desk.press("k")
        await other.press("k")
        await desk.sees("left")
        await other.sees("left")
        [payment] = await desk.payments("p2")
        await desk.pay(payment)
        await desk.sees("✓ PAID")
        await other.sees("✓ PAID")


async def test_a_payment_left_open_is_told_when_it_is_paid(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.press("escape")
        await desk.sees("Who waits", "waiting: 1", "Timur", "0 min")
        await desk.press("enter")  # the one that waits is chosen
        await desk.sees("left", str(payment.code))
        await desk.press("escape")
        await desk.sees("Who waits")
        await desk.pay(payment)
        await desk.sees("✓ PAID Timur 24,000 KZT")
        await desk.until(lambda: desk.bells == 1, "the bell does not ring once")
        await desk.sees("waiting: 0")


async def test_a_mistyped_code_is_no_unknown_name(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.type("K7QX-2M0R")
        await desk.press("enter")
        await desk.sees("The payment code K7QX-2M0R is mistyped")
        await desk.press("escape")
        await desk.type("Mahmetov")
        await desk.press("enter")
        await desk.sees("Nobody of this name is registered.")


async def test_a_name_with_the_number_of_a_row_is_no_code(open_desk: OpenDesk) -> None:
    """Ахметов2 has the letters and the check character of the code AXMET0B2."""
    async with open_desk() as desk:
        await desk.type("Ахметов2")
        await desk.press("enter")
        await desk.sees("There is no payment AXME-T0B2.")
        for name in ("Асан Ахметов", "Тимур Ахметов"):
            await add_participant(desk.app.ctx, "t1", name, Actor("aigerim", Source.PERSON))
        await desk.press("escape")
        await desk.opens("Ахметов2")
        await desk.sees("Тимур Ахметов")


async def test_verify_a_receipt(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await start(desk, "timur", "p2")
        await desk.press("v")
        await desk.sees("The receipt's number")
        await desk.type("12")
        await desk.press("enter")
        await desk.sees("This is not a receipt's number")
        await desk.press("v")
        await desk.sees("The receipt's number")
        await desk.type("QR19000000001")
        await desk.press("enter")
        await desk.sees("Kaspi reports that this QR was not paid; a receipt alone proves nothing")
        desk.clerk.providers.fault(path="/r1", kind="cut_before", times=99)
        await desk.press("v")
        await desk.sees("The receipt's number")
        await desk.type("19000000001")
        await desk.press("enter")
        await desk.sees("✓ PAID", "Verified by you", "Receipt 19000000001")


async def test_a_scanned_receipt_finds_its_payer_or_waits_for_the_name(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.press("escape")
        await desk.scan(f"QR{payment.provider_ref}")
        await desk.sees("The receipt's number", str(payment.provider_ref))
        await desk.press("escape")
        await desk.press("escape")
        await desk.scan("19000000001")
        await desk.sees("Receipt 19000000001 is not known yet. Whose is it?")
        await desk.type("timur")
        await desk.press("enter")
        await desk.sees("The receipt's number", "19000000001")


@pytest.mark.parametrize("layout", ["latin", "russian"])
async def test_a_scanned_code_opens_its_payment(open_desk: OpenDesk, layout: str) -> None:
    from procomp_pay.cli.desk import keys

    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.press("escape")
        code = str(payment.code)
        table = str.maketrans(keys._LATIN, keys._CYRILLIC) if layout == "russian" else {}
        await desk.scan(code.translate(table))
        await desk.sees("left", code)


async def test_a_scanner_presses_no_keys_on_the_screen_of_a_person(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.opens("timur")
        await desk.scan("KAG-VCRY")
        await desk.pilot.pause(0.3)
        assert await desk.payments("p2") == []
        payment = await start_here(desk)
        await desk.scan("QR19000000001")
        await desk.sees("The receipt's number", "19000000001")
        assert [view.payment_id for view in await desk.payments("p2")] == [payment.payment_id]


async def start_here(desk: Desk) -> views.PaymentView:
    await desk.press("k")
    await desk.sees("left")
    return (await desk.payments("p2"))[0]


async def test_refund_with_its_questions(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record")
        await desk.press("enter")
        await desk.sees("A refund needs a reason")
        await desk.type("injured")
        await desk.press("tab")
        await desk.type("999999")
        await desk.press("enter")
        await desk.sees("This is more than what is left of the payment")
        for thousands_or_decimals in ("24,000", "24.000"):
            await desk.press(*["backspace"] * 6)
            await desk.type(thousands_or_decimals)
            await desk.press("enter")
            await desk.sees("This is not an amount. Write it as 50.00")
        await desk.press(*["backspace"] * 6)
        await desk.type("4 000,00")
        await desk.press("enter")
        await desk.sees("Refund 4,000 KZT? What remains: 20,000 KZT", "Reason: injured", "y Refund it")
        assert (await desk.payments("p2"))[0].refunds == ()
        await desk.press("y", "y")
        await desk.sees("4,000 KZT refunded.")
        await desk.press("escape")
        await desk.sees("PAID", "4,000 KZT refunded.")
        [refund] = (await desk.payments("p2"))[0].refunds
        assert (refund.reason, refund.requested_by) == ("injured", "aigerim")


async def test_a_refund_that_is_not_possible_is_told_before_its_reason_is_typed(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.pay(await start(desk, "timur", "p2"))
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record", "basic scheme has no refund by API")


async def test_a_refund_by_the_policy_of_the_tournament(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")
        actor = Actor("aigerim", Source.PERSON)
        await set_refund_policy(
            desk.app.ctx, payment.tournament_id, ["2100-01-01:50:2000"], ZoneInfo("Asia/Almaty"), actor
        )
        await desk.press("r")
        await desk.sees("Amount; empty for 10,000 KZT (50% until 2100-01-01")
        await desk.type("injured")
        await desk.press("enter")
        await desk.sees("Refund 10,000 KZT? What remains: 14,000 KZT", "Refund policy: 50% until 2100-01-01")
        await desk.press("y")
        await desk.sees("10,000 KZT refunded.")
        [refund] = (await desk.payments("p2"))[0].refunds
        assert refund.money.amount == 10000


@pytest.mark.parametrize("opened_by", ["code", "name", "settling code"])
async def test_a_fee_that_was_paid_twice_is_refunded_by_the_payment_that_was_opened(
    open_desk: OpenDesk, opened_by: str
) -> None:
    async with open_desk() as desk:
        kaspi = await start(desk, "timur", "p2")
        await desk.also_by_apple_pay()
        settling = (await desk.payments("p2"))[0]
        await desk.pay(settling, "apple_pay")
        await desk.sees("✓ PAID")
        await desk.press("enter")
        await desk.pay(kaspi)
        async with asyncio.timeout(PATIENCE_S):
            while not (await views.one(desk.app.ctx, kaspi.payment_id)).is_duplicate:
                await desk.pilot.pause(0.1)
        text = {"code": str(kaspi.code), "name": "timur", "settling code": str(settling.code)}[opened_by]
        await desk.scan(text)
        await desk.sees("✓ ALREADY PAID")
        expected = settling if opened_by == "settling code" else kaspi
        await desk.sees(str(expected.code))
        await desk.press("r")
        await desk.sees("Refund · Timur", expected.method.replace("_", " ").title().replace("Qr", "QR"))


async def test_nobody_is_charged_whom_the_platform_marks_as_paid(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await start(desk, "timur", "p2")
        change = "UPDATE \"Participant\" SET status = 'PAID' WHERE id = 'p2'"
        await asyncio.to_thread(desk.clerk.change, change)
        await desk.sees("✓ ALREADY PAID", "The fee is already paid.")
        await desk.until(lambda: not desk.app.screen.query_one("#code").display, "the QR is still there")
        await desk.until(lambda: "k Kaspi" not in desk.text, "the keys for a new payment are still there")
        await desk.press("enter")
        await desk.sees("Who waits", "waiting: 0")
        assert "Timur" not in desk.text
        await desk.opens("timur")
        await desk.sees("✓ ALREADY PAID", "The fee is already paid.", "c Cancel")
        await desk.press("c")
        await desk.sees("Cancel this payment of 24,000 KZT by Kaspi QR?")
        await desk.press("y")
        async with asyncio.timeout(PATIENCE_S):
            while (await desk.payments("p2"))[0].status is not PaymentStatus.CANCELLED:
                await desk.pilot.pause(0.1)


async def test_a_mark_of_the_platform_is_read_again(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.opens("timur")
        await desk.sees("k Kaspi")
        change = "UPDATE \"Participant\" SET status = 'PAID' WHERE id = 'p2'"
        await asyncio.to_thread(desk.clerk.change, change)
        await desk.press("k")
        await desk.sees("✓ ALREADY PAID", "The platform has recorded it as paid.")


async def test_a_provider_that_is_away_is_told_and_the_payment_taken_up_again(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        desk.clerk.providers.fault(path="/v1", kind="cut_before", times=999)
        await desk.opens("timur")
        await desk.press("a")
        await desk.sees("Nothing is lost", "Next try in", "Stripe has not answered yet: there is nothing")
        await desk.press("escape")
        await desk.sees("Who waits", "Timur")
        desk.clerk.providers.calm()
        await desk.type("timur")
        await desk.press("enter")
        await desk.sees("24,000 KZT · Apple Pay", "left")
        [payment] = await desk.payments("p2")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")


async def test_the_seconds_until_the_next_try_are_counted_down(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person, "_AGAIN_S", 30)
    seen: list[int] = []
    async with open_desk() as desk:

        def counted() -> bool:
            seen.extend(int(n) for n in re.findall(r"Next try in (\d+) s", desk.text))
            return seen[-1:] != seen[:1]

        desk.clerk.providers.fault(path="/v1", kind="cut_before", times=999)
        await desk.opens("timur")
        await desk.press("a")
        await desk.sees("Next try in")
        await desk.until(counted, "the seconds stand still")
        assert seen[-1] < seen[0]


async def test_all_keys_are_shown_in_a_narrow_terminal(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    async with open_desk(size=(50, 30)) as desk:
        await desk.type("timur")
        await desk.sees("Tab Платежи за сегодня", "Esc Очистить", "Ctrl+Q Выход")
        await desk.press("enter")
        await desk.sees("Назад")
        await desk.press("k")
        await desk.sees("g Google Pay", "v Чек", "c Отменить", "Esc Назад", "Ctrl+Q Выход")


async def test_todays_payments(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2")
        await desk.pay(payment)
        await desk.sees("✓ PAID")
        await desk.press("enter")
        await start(desk, "данияр", "p3")
        await desk.press("escape", "tab")
        await desk.sees("Payments today: 2", "Timur", "paid", "Данияр", "waits")
        await desk.type("tim")
        await desk.sees("Payments today: 1", "Timur")
        await desk.press("enter")
        await desk.sees("✓ ALREADY PAID")


async def test_choose_by_number(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.type("а")  # of Аида, and the key of the F of Five
        await desk.sees("Found: ", "1 Аида", "2 Five")
        await desk.type("2")
        await desk.press("enter")
        await desk.sees("Five", "50 USD", "Back")


async def test_a_number_without_a_row_opens_nobody(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.type("а")
        await desk.sees("Found: 2")
        await desk.type("7")
        await desk.press("enter")
        await desk.sees("No row is chosen.")


async def test_the_chosen_person_stays_chosen_while_the_list_changes(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        for name, participant_id in (("нурл", "p1"), ("timur", "p2"), ("данияр", "p3")):
            await start(desk, name, participant_id)
            await desk.press("escape")
        await desk.sees("waiting: 3", "1 Аида", "2 Timur", "3 Данияр")
        await desk.press("down")
        await cancel((await desk.payments("p1"))[0], desk)
        await desk.sees("waiting: 2", "1 Timur", "2 Данияр")
        await desk.press("enter")
        await desk.sees("Timur", "left")
        await desk.press("c")
        await desk.sees("Timur", "Cancel this payment")
        await desk.press("escape", "escape")
        await desk.sees("1 Timur", "2 Данияр")
        await desk.press("down", "up")
        await cancel((await desk.payments("p2"))[0], desk)
        await desk.sees("waiting: 1", "1 Данияр")
        await desk.press("enter")
        await desk.sees("Who waits", "No row is chosen.")
        await desk.press("down", "enter")
        await desk.sees("Данияр", "left")


async def cancel(payment: views.PaymentView, desk: Desk) -> None:
    """Cancel a payment, as another desk would."""
    await cancel_payment(desk.app.ctx, payment.payment_id, desk.app.actor)


async def test_names_of_participants_are_no_markup(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.type("four")
        await desk.sees("Four [bold]x[/]")
        await desk.press("enter")
        await desk.sees("Kid �[31mFour [bold]x[/]", "Back")


async def test_a_screen_that_stays_the_same_is_not_drawn_again(open_desk: OpenDesk) -> None:
    """It is shown twice a second, for hours."""
    async with open_desk() as desk:
        await start(desk, "timur", "p2", "a")
        await desk.sees("Cancel")
        footer = desk.app.screen.query_one(Footer)
        kept = list(footer.children)
        await desk.until(lambda: "59:5" in desk.text or "58:" in desk.text, "the countdown stands still")
        seen = desk.text
        await desk.until(lambda: desk.text != seen, "the countdown stands still")
        assert list(footer.children) == kept


async def test_news_that_come_before_the_screen_has_its_parts(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A followed payment can be paid in the moment in which a person's screen is being built."""
    told = []

    def compose(self: Vertical) -> ComposeResult:
        told.append(self.screen)
        cast("PersonScreen", self.screen).show()
        yield from ()

    async with open_desk() as desk:
        monkeypatch.setattr(Vertical, "compose", compose)
        await desk.opens("timur")
        await desk.sees("Timur", "k Kaspi")
        assert told == [desk.app.screen]


async def test_keys_typed_ahead_reach_the_person(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        for key in (*"timur", "enter", "k"):
            desk.app.simulate_key(key)
        await desk.sees("left", "Timur")
        assert isinstance(desk.app.screen, DeskScreen)


async def test_quitting_waits_for_a_running_call(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        desk.clerk.providers.fault(path="/v1/checkout", kind="delay", seconds=4, times=1)
        await desk.opens("timur")
        await desk.press("a")
        await desk.sees("Asking Stripe")
        await desk.press("ctrl+q")
        await desk.sees("Waiting for a provider's answer")
        await desk.until(lambda: not desk.app.is_running, "it never ended")
        [payment] = await desk.payments("p2")
        assert payment.provider_ref is not None


async def test_the_database_that_is_away_is_told(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from procomp_pay.cli.desk import reads
    from procomp_pay.domain.errors import DatabaseUnavailable

    async with open_desk() as desk:
        await desk.sees("Who waits")
        real = reads.open_payments

        async def away(*_given: object) -> list[views.PaymentView]:
            raise DatabaseUnavailable("The database cannot be reached")

        monkeypatch.setattr(reads, "open_payments", away)
        await desk.sees("The database does not answer. Nothing is lost")
        monkeypatch.setattr(reads, "open_payments", real)
        await desk.until(lambda: "does not answer" not in desk.text, "it stayed")


async def test_the_mouse(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.pilot.click("#title")
        await desk.type("timur")
        await desk.sees("Found: 1")
        await desk.pilot.click("#rows", offset=(5, 0))
        await desk.sees("Back")  # the line of keys comes after the rest
        await desk.pilot.click("FooterKey")  # the first: k
        await desk.sees("left")
        await desk.press("escape")
        await desk.sees("waiting: 1")
        await desk.type("данияр")
        await desk.sees("Found: 1")


async def test_a_refund_that_is_left_while_it_is_looked_at(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes when its dialog is gone: the desk stays open, nothing is refunded."""
    left, real = asyncio.Event(), refund_dialog.plan
    planned = []

    async def slow(ctx: AppContext, command: RefundCommand) -> Plan:
        await left.wait()
        planned.append(await real(ctx, command))
        return planned[0]

    monkeypatch.setattr(refund_dialog, "plan", slow)
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record")
        await desk.type("injured")
        await desk.press("enter", "escape")
        await desk.until(lambda: "Reason, for the record" not in desk.text, "the dialog is still there")
        left.set()
        await desk.until(lambda: planned, "the answer never came")
        await desk.press("escape")
        await desk.sees("Who waits")
        assert desk.app.failure is None
        assert (await desk.payments("p2"))[0].rest == payment.charged


async def test_a_refund_qr_for_the_customer(open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaspi's standard scheme needs one; its API has certificates, so that its answers stand here instead."""
    scanned = asyncio.Event()

    async def scan(
        _ctx: AppContext, _payment: str, show: Callable[..., None], unlisted: Callable[[], None]
    ) -> None:
        show(RefundQr(return_id=7, token="1" * 41, wait_s=180, interval_s=5))
        await scanned.wait()
        unlisted()

    monkeypatch.setattr("procomp_pay.cli.desk.refund.customer_scan", scan)
    async with open_desk() as desk:
        payment = await start(desk, "timur", "p2", "a")
        await desk.pay(payment, "apple_pay")
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record")
        await desk.type("injured")
        await desk.press("enter")
        await desk.sees("y Refund it")
        await desk.press("y")
        await desk.sees("within 180 seconds")
        code = [line.rstrip() for line in qr.lines(qr.picture("1" * 41), ink_is_dark=True)]
        await desk.until(lambda: all(line in "\n".join(desk.lines) for line in code), "the QR is not whole")
        scanned.set()
        await desk.sees("24,000 KZT refunded.")
