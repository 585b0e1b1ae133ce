"""Render e-mails about a payment in the participant's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from procomp_pay.config.delivery import one_line
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import method_name
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.notifications.smtp import Email
from procomp_pay.services.receipts.receipt import Receipt, disclaimer, heading
from procomp_pay.services.receipts.receipt import rows as receipt_rows
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.translations import Translation


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The context of a message: its payment in the current state, and the recipient.

    :param settled_by: id of the payment that settles the participant's fee now.
    :param language: preferred language of the participant; ``None`` for the default.
    """

    view: PaymentView
    email: str | None = None
    settled_by: str | None = None
    language: str | None = None


#: Working days until a refund arrives on a card (Stripe: "5 to 10 business days").
CARD_DAYS = 10

#: Signs beside the heading; they have the same width in every font, and print in black.
_SIGNS = {
    Topic.PAYMENT_RECEIVED: "✓",
    Topic.LETTER_RECEIPT: "✓",
    Topic.PAYMENT_REFUNDED: "↩",
}


@dataclass(frozen=True, slots=True)
class _Content:
    heading: str
    lines: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    link: str | None = None


def render_email(
    topic: str,
    payload: Mapping[str, Any],
    context: MessageContext,
    *,
    key: str,
    language: str,
    at: datetime,
    prefix: str = "",
) -> Email:
    """Return the e-mail to the participant's user.

    :param payload: the message from settlement, with ``amount`` and ``currency`` of this event.
    :param key: the id of the delivery, for the Message-ID.
    :param at: when the event happened.
    :param prefix: of the subject, while no real money moves.
    """
    translation = Translation(language)
    view = context.view
    content = _content(translation, topic, payload, context)
    # a receipt says all by itself
    rows = content.rows if topic == Topic.LETTER_RECEIPT else (*content.rows, *_rows(translation, view, at))
    return _letter(
        translation,
        replace(content, rows=tuple(rows)),
        f"{content.heading}: {view.tournament_name}",
        _SIGNS.get(Topic(topic), "!"),
        Email(key=key, to=context.email or "", subject=prefix, text="", html="", language=language, at=at),
    )


@dataclass(frozen=True, slots=True)
class Reminder:
    """What a reminder is about.

    :param fees: the entry fee in each currency.
    :param link: of the page where an open payment can be paid.
    :param unsubscribe: of the page that stops reminders.
    """

    participant_name: str
    tournament_name: str
    category: str | None
    fees: tuple[Money, ...]
    link: str | None
    unsubscribe: str | None


def render_reminder(
    reminder: Reminder, *, to: str, key: str, language: str, at: datetime, prefix: str = ""
) -> Email:
    """Return the e-mail that reminds of an unpaid entry fee."""
    translation = Translation(language)
    text = translation.text
    lines = [text("Please pay it before the tournament begins.")]
    if reminder.link is None:
        lines.append(text("Start the payment in the app or at the registration desk."))
    else:
        lines.append(text("This payment is open; you can pay it here:"))
    rows = (
        (text("Participant"), reminder.participant_name),
        (text("Tournament"), reminder.tournament_name),
        (text("Category"), reminder.category or ""),
        (text("Amount"), " / ".join(map(translation.money, reminder.fees))),
    )
    heading = text("The entry fee is not paid yet")
    return _letter(
        translation,
        _Content(heading, tuple(lines), tuple(row for row in rows if row[1]), reminder.link),
        f"{heading}: {reminder.tournament_name}",
        "!",
        Email(
            key=key, to=to, subject=prefix, text="", html="", language=language, at=at,
            unsubscribe=reminder.unsubscribe,
        ),
        text("No more reminders: %(link)s", link=reminder.unsubscribe)
        if reminder.unsubscribe
        else text("If you want no more reminders, tell the organisers of the tournament."),
    )  # fmt: skip


def _letter(
    translation: Translation, content: _Content, subject: str, sign: str, envelope: Email, *more: str
) -> Email:
    """Return an envelope with its subject completed and its text written.

    :param envelope: its subject is the prefix.
    :param more: further lines of the footer.
    """
    values = {
        "language": translation.language,
        "mark": envelope.subject.strip(),
        "sign": sign,
        "heading": content.heading,
        "lines": content.lines,
        "link": content.link,
        "rows": [(label, one_line(value)) for label, value in content.rows],
        "footer": (
            translation.text("This letter was sent automatically; there is no need to answer it."),
            translation.text(
                "With questions turn to the organisers of the tournament and tell them the payment's number."
            ),
            *more,
        ),
    }
    return replace(
        envelope,
        subject=f"{envelope.subject}{subject}",
        text=_templates().get_template("email.txt").render(values),
        html=_templates().get_template("email.html").render(values),
    )


@lru_cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("procomp_pay.services.notifications.emails", "."),
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _rows(translation: Translation, view: PaymentView, at: datetime) -> list[tuple[str, str]]:
    rows = [
        (translation.text("Participant"), view.participant_name),
        (translation.text("Tournament"), view.tournament_name),
        (translation.text("Category"), view.category or ""),
        (translation.text("Method"), method_name(view.method)),
        (translation.text("Date"), translation.moment(at)),
        (translation.text("Kaspi receipt"), view.operation_number or ""),
        # the code can be read out at the desk; payments made before codes existed have none
        (translation.text("Payment number"), " · ".join(filter(None, (view.code, view.payment_id)))),
    ]
    return [(label, value) for label, value in rows if value]


def _content(
    translation: Translation, topic: str, payload: Mapping[str, Any], context: MessageContext
) -> _Content:
    if topic == Topic.LETTER_RECEIPT:
        receipt = Receipt(context.view, payload.get("fiscal_number"))
        return _Content(
            heading(translation), (disclaimer(translation),), tuple(receipt_rows(translation, receipt))
        )
    money = Money.parse(payload["amount"], str(payload["currency"]))
    if topic == Topic.PAYMENT_RECEIVED:
        return _received(translation, money, context)
    if topic == Topic.PAYMENT_REFUNDED:
        return _refunded(translation, money, context.view, in_full=bool(payload.get("refunded_in_full")))
    amount = ((translation.text("Amount"), translation.money(money)),)
    if topic == Topic.PAYMENT_EXPIRED:
        lines = (
            translation.text("No payment arrived in time. To take part, please start the payment again."),
            translation.text(
                "If you did pay, do not pay a second time: we go on looking for it and will write to you."
            ),
        )
        return _Content(translation.text("Time to pay is over"), lines, amount)
    lines = (
        translation.text(
            "The entry fee is not paid yet. Please try again in the app or at the registration desk."
        ),
        translation.text("If your bank shows the amount as held, the bank will release it by itself."),
    )
    return _Content(translation.text("Payment did not go through"), lines, amount)


def _received(translation: Translation, money: Money, context: MessageContext) -> _Content:
    line = translation.text("The money has arrived.")
    if context.view.is_duplicate:
        line = translation.text("This fee had been paid before. The organisers will pay one of the two back.")
    elif context.settled_by == context.view.payment_id:
        line = translation.text("The entry fee is paid. There is nothing more to do.")
    rows = ((translation.text("Amount"), translation.money(money)),)
    return _Content(translation.text("Payment received"), (line,), rows)


def _refunded(translation: Translation, money: Money, view: PaymentView, *, in_full: bool) -> _Content:
    amount = translation.money(money)
    rows = [(translation.text("Amount paid back"), amount)]
    if view.refunded != money:
        rows.append((translation.text("Paid back in all"), translation.money(view.refunded)))
    rows.append((translation.text("Amount paid"), translation.money(view.charged)))
    if in_full:
        heading = translation.text("Payment refunded")
        # all of it by now, of which this may have been the last part
        whole = translation.money(view.charged)
        first = translation.text("The entry fee has been paid back: %(amount)s.", amount=whole)
    else:
        heading = translation.text("Part of the payment refunded")
        first = translation.text(
            "Paid back: %(amount)s. The rest of the payment stays as it is.", amount=amount
        )
    if view.channel.is_kaspi:
        route = translation.text("The money goes back to the Kaspi account that it was paid from.")
    else:
        route = translation.counted(
            "The money goes back to the card; the bank may need up to %(n)d working day.",
            "The money goes back to the card; the bank may need up to %(n)d working days.",
            CARD_DAYS,
        )
    return _Content(heading, (first, route), tuple(rows))
