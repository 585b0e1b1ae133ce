"""E-mails to participants and alerts to the organiser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.services.notifications.alerts import compose
from procomp_pay.services.notifications.emails import render_email
from procomp_pay.services.notifications.emails.email import MessageContext
from procomp_pay.services.views.payment import PaymentView

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FEE = Money.parse("24000.50", "KZT")
VIEW = PaymentView(
    code="X54A-BHPZ",
    payment_id="c" * 25, participant_id="p1", participant_name="Қайрат Нұрланов", tournament_id="t1",
    tournament_name="Almaty Open 2026", category="Дзюдо -66 кг", status=PaymentStatus.COMPLETED,
    method=PaymentMethod.KASPI_QR, channel=Channel.KASPI_QR, charged=FEE, requested=FEE,
    refunded=Money(Decimal(0), FEE.currency), created_at=AT, platform_created_at=AT, updated_at=AT,
    completed_at=AT, expires_at=None, scanned_at=None, failure_reason=None, provider_ref="88",
    operation_number="27954577348", wallet=None, is_late=False, is_duplicate=False, provider_open=False,
    started_by="desk", refunds=(), dispute=None,
)  # fmt: skip
CARD = replace(VIEW, method=PaymentMethod.APPLE_PAY, channel=Channel.STRIPE_CHECKOUT, operation_number=None)


def payload(money: Money = FEE, **more: Any) -> dict[str, Any]:
    return {"payment_id": VIEW.payment_id, "amount": money.amount, "currency": money.currency.value} | more


def render(topic: Topic, language: str, view: PaymentView = VIEW, **more: Any) -> Any:
    about = MessageContext(view, "a@example.com", settled_by=view.payment_id)
    return render_email(topic, payload(**more), about, key="k", language=language, at=AT)


@pytest.mark.parametrize(
    ("topic", "language", "subject", "says"),
    [
        (Topic.PAYMENT_RECEIVED, "ru", "Оплата получена", "Взнос за участие оплачен. Больше"),
        (Topic.PAYMENT_RECEIVED, "kk", "Төлем қабылданды", "Қатысу жарнасы төленді. Басқа"),
        (Topic.PAYMENT_RECEIVED, "en", "Payment received", "The entry fee is paid. There is"),
        (Topic.PAYMENT_FAILED, "ru", "Оплата не прошла", "Попробуйте ещё раз в приложении"),
        (Topic.PAYMENT_FAILED, "kk", "Төлем өтпеді", "Қосымшада немесе тіркеу үстелінде"),
        (Topic.PAYMENT_FAILED, "en", "Payment did not go through", "try again in the app or at"),
        (Topic.PAYMENT_EXPIRED, "ru", "Время на оплату истекло", "Если вы всё же заплатили, не платите"),
        (Topic.PAYMENT_EXPIRED, "kk", "Төлем уақыты аяқталды", "Егер төлеп қойған болсаңыз, екінші"),
        (Topic.PAYMENT_EXPIRED, "en", "Time to pay is over", "If you did pay, do not pay a second time"),
    ],
)  # fmt: skip
def test_what_a_letter_says(topic: Topic, language: str, subject: str, says: str) -> None:
    got = render(topic, language)
    assert got.subject == f"{subject}: Almaty Open 2026"
    for text in (got.text, got.html):
        for part in (says, "Қайрат Нұрланов", "Дзюдо -66 кг", "27954577348", VIEW.payment_id, "Kaspi QR"):
            assert part in text


@pytest.mark.parametrize(
    ("language", "amount", "date"),
    [
        ("ru", "24 000,50 ₸", "23 ноября 2026 г., 14:30"),
        ("kk", "24 000,50 ₸", "2026 ж. 23 қараша, 14:30"),
        ("en", "24,000.50 KZT", "November 23, 2026, 14:30"),
    ],
)
def test_amounts_and_dates_as_they_are_written_there(language: str, amount: str, date: str) -> None:
    got = render(Topic.PAYMENT_RECEIVED, language)
    assert f": {amount.replace(' ', chr(160))}\n" in got.text, "and never broken into two lines"
    assert f": {date}\n" in got.text, "in Almaty"


@pytest.mark.parametrize("code", [VIEW.code, None])
def test_the_code_stands_beside_the_number_where_there_is_one(code: str | None) -> None:
    got = render(Topic.PAYMENT_RECEIVED, "en", replace(VIEW, code=code))
    line = next(shown for shown in got.text.splitlines() if VIEW.payment_id in shown)
    assert line.split(":")[-1].strip() == (f"{code} · {VIEW.payment_id}" if code else VIEW.payment_id)


@pytest.mark.parametrize(
    ("language", "heading", "first", "days"),
    [
        ("ru", "Часть оплаты возвращена", "Возвращено: 20,00 $.", "до 10 рабочих дней"),
        ("kk", "Төлемнің бір бөлігі қайтарылды", "Қайтарылды: 20,00 $.", "10 жұмыс күніне дейін"),
        ("en", "Part of the payment refunded", "Paid back: 20.00 USD.", "up to 10 working days"),
    ],
)
def test_a_part_goes_back_to_a_card(language: str, heading: str, first: str, days: str) -> None:
    part = Money.parse(20, "USD")
    view = replace(CARD, charged=Money.parse(50, "USD"), refunded=Money.parse(35, "USD"))
    got = render(Topic.PAYMENT_REFUNDED, language, view, money=part, refunded_in_full=False)
    plain = got.text.replace(chr(160), " ")
    assert heading in got.subject
    assert all(part in plain for part in (first, days, "35", "50", "Apple Pay"))
    assert "Kaspi" not in got.text


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("ru", "Деньги вернутся на счёт Kaspi, с которого была оплата."),
        ("kk", "Ақша төлем жасалған Kaspi шотына қайтады."),
        ("en", "The money goes back to the Kaspi account that it was paid from."),
    ],
)
def test_all_goes_back_to_kaspi(language: str, says: str) -> None:
    view = replace(VIEW, refunded=FEE, status=PaymentStatus.REFUNDED)
    got = render(Topic.PAYMENT_REFUNDED, language, view, refunded_in_full=True)
    assert says in got.text
    assert got.text.count("24") == 3, "in the sentence, as what went back, as what was paid"
    last = render(Topic.PAYMENT_REFUNDED, language, view, money=Money.parse(5, "KZT"), refunded_in_full=True)
    assert last.text.count("24") == 3, "the last part of it: all is back"


def test_one_paid_twice_is_told_so() -> None:
    view = replace(VIEW, is_duplicate=True)
    assert "Организаторы вернут один из двух платежей" in render(Topic.PAYMENT_RECEIVED, "ru", view).text
    about = MessageContext(VIEW, "a@example.com", settled_by=None)
    got = render_email(
        Topic.PAYMENT_RECEIVED, payload(), about, key="k", language="en", at=AT, prefix="[SANDBOX] "
    )
    assert "The money has arrived." in got.text
    assert "The entry fee is paid" not in got.text
    assert got.subject.startswith("[SANDBOX] ")
    assert "[SANDBOX]" in got.text
    assert "[SANDBOX]" in str(got.html)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize("language", ["ru", "kk", "en"])
def test_what_comes_from_outside_stays_text(language: str) -> None:
    evil = replace(
        VIEW,
        participant_name="<script>alert(1)</script>\r\nBcc: x@example.com",
        tournament_name='"><img src=x onerror=alert(1)>\nSubject: other',
        category="{{ 7 * 7 }} & co",
        operation_number="1\x1b[31m",
    )
    got = render(Topic.PAYMENT_RECEIVED, language, evil)
    tags = _Tags()
    tags.feed(str(got.html))
    assert not {"script", "img"} & set(tags.tags)
    assert tags.outside == [], "it fetches nothing"
    assert "&lt;script&gt;" in str(got.html)
    assert "{{ 7 * 7 }} &amp; co" in str(got.html)
    assert "<script>alert(1)</script> Bcc: x@example.com\n" in got.text, "on its own line"
    assert "\x1b" not in got.text + str(got.html)


@pytest.mark.parametrize(("language", "says"), [("ru", "не фискальный чек"), ("kk", "фискалдық чек емес")])
def test_a_receipt_is_a_letter(language: str, says: str) -> None:
    got = render(Topic.LETTER_RECEIPT, language, fiscal_number="ФП 77")
    for text in (got.text, str(got.html)):
        assert says in text
        for known in ("Қайрат Нұрланов", "27954577348", VIEW.payment_id, "ФП 77"):
            assert text.count(known) == 1


@pytest.mark.parametrize("topic", [item for item in Topic if item.startswith("alert.")])
def test_every_alert_names_a_next_step(topic: Topic) -> None:
    """Also one of which nothing more is known than its topic."""
    for found, view in (({}, None), (payload(state="open", destination="alert_mail"), VIEW)):
        alert = compose(topic, found, view)
        assert alert.title[0].isupper()
        assert alert.commands
        assert all(command.startswith("procomp-pay ") for command in alert.commands)
        assert "None" not in alert.as_chat()


def test_a_dispute_says_until_when() -> None:
    payload_of_dispute = payload(
        dispute="dp_1", state="withdrawn", evidence_until="2026-12-01T18:59:59+00:00", held_back=2
    )
    text = compose(Topic.ALERT_DISPUTE, payload_of_dispute, VIEW).as_chat("[TEST] ").replace(chr(160), " ")
    assert text == (
        "*[TEST] Dispute withdrawn: 24 000.50 KZT, Қайрат Нұрланов*\n"
        "Dispute dp_1 over 24 000.50 KZT was opened, and Stripe has withdrawn the money for now.\n"
        "Evidence is accepted until Tue 1 Dec 23:59 (Almaty): "
        "submit it in Stripe's dashboard, Payments, Disputes.\n"
        f"Қайрат Нұрланов · Almaty Open 2026, Дзюдо -66 кг · payment {'c' * 25} is COMPLETED, 24 000.50 KZT\n"
        "The same happened 2 more times since the last alert.\n"
        "`procomp-pay history p1`"
    )
    mail = compose(Topic.ALERT_DISPUTE, payload_of_dispute, VIEW).as_email("", "k", "ops@example.com", AT)
    assert mail.text.endswith("What to do next:\n  procomp-pay history p1\n")


def test_a_letter_says_nothing_of_the_decline_or_of_notes() -> None:
    view = replace(CARD, failure_reason="Your card was declined. (stolen_card)")
    reason = "a quarrel with the coach"
    for topic in (Topic.PAYMENT_FAILED, Topic.PAYMENT_REFUNDED, Topic.PAYMENT_EXPIRED):
        made = render(topic, "en", view, reason=f"{reason} (stolen_card)", refunded_in_full=True)
        assert [word for word in ("stolen", "declined", "quarrel") if word in made.text + made.html] == []
