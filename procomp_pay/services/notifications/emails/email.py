"""Write a letter about a payment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from procomp_pay.config.delivery import one_line
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.domain.transitions import Topic
from procomp_pay.providers.notifications.smtp import Letter
from procomp_pay.services.notifications.emails.translation import Speech

if TYPE_CHECKING:
    from procomp_pay.services.notifications.compose import About
    from procomp_pay.services.views.payment import PaymentView

#: Working days until refunded money is on a card (Stripe: "5 to 10 business days").
CARD_DAYS = 10

_METHODS = {
    PaymentMethod.KASPI_QR: "Kaspi QR",
    PaymentMethod.APPLE_PAY: "Apple Pay",
    PaymentMethod.GOOGLE_PAY: "Google Pay",
}
#: Beside the heading; of the same width in every font, and black on paper.
_SIGNS = {
    Topic.PAYMENT_RECEIVED: "✓",
    Topic.PAYMENT_REFUNDED: "↩",
}


@dataclass(frozen=True, slots=True)
class _Content:
    heading: str
    lines: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]


def write(
    topic: str,
    payload: Mapping[str, Any],
    about: About,
    *,
    key: str,
    language: str,
    at: datetime,
    mark: str = "",
) -> Letter:
    """A letter to the participant's user.

    :param payload: what the door said: ``amount`` and ``currency`` of this piece of news among it.
    :param at: when it happened.
    :param mark: stands before the subject while no real money moves.
    """
    speech = Speech(language)
    view = about.view
    content = _content(speech, topic, payload, about)
    values = {
        "language": language,
        "mark": mark.strip(),
        "sign": _SIGNS.get(Topic(topic), "!"),
        "heading": content.heading,
        "lines": content.lines,
        "rows": [(label, one_line(value)) for label, value in (*content.rows, *_rows(speech, view, at))],
        "footer": (
            speech.text("This letter was sent automatically; there is no need to answer it."),
            speech.text(
                "With questions turn to the organisers of the tournament and tell them the payment's number."
            ),
        ),
    }
    return Letter(
        key=key,
        to=about.email or "",
        subject=f"{mark}{content.heading}: {view.tournament_name}",
        text=_templates().get_template("letter.txt").render(values),
        html=_templates().get_template("letter.html").render(values),
        language=language,
        at=at,
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


def _rows(speech: Speech, view: PaymentView, at: datetime) -> list[tuple[str, str]]:
    rows = [
        (speech.text("Participant"), view.participant_name),
        (speech.text("Tournament"), view.tournament_name),
        (speech.text("Category"), view.category or ""),
        (speech.text("Method"), _METHODS[view.method]),
        (speech.text("Date"), speech.moment(at)),
        (speech.text("Kaspi receipt"), view.operation_number or ""),
        # the code is what a person can read out at the desk; payments of before there were codes have none
        (speech.text("Payment number"), " · ".join(filter(None, (view.code, view.payment_id)))),
    ]
    return [(label, value) for label, value in rows if value]


def _content(speech: Speech, topic: str, payload: Mapping[str, Any], about: About) -> _Content:
    money = Money.parse(payload["amount"], str(payload["currency"]))
    if topic == Topic.PAYMENT_RECEIVED:
        return _received(speech, money, about)
    if topic == Topic.PAYMENT_REFUNDED:
        return _refunded(speech, money, about.view, in_full=bool(payload.get("refunded_in_full")))
    amount = ((speech.text("Amount"), speech.money(money)),)
    if topic == Topic.PAYMENT_EXPIRED:
        lines = (
            speech.text("No payment arrived in time. To take part, please start the payment again."),
            speech.text(
                "If you did pay, do not pay a second time: we go on looking for it and will write to you."
            ),
        )
        return _Content(speech.text("Time to pay is over"), lines, amount)
    lines = (
        speech.text(
            "The entry fee is not paid yet. Please try again in the app or at the registration desk."
        ),
        speech.text("If your bank shows the amount as held, the bank will release it by itself."),
    )
    return _Content(speech.text("Payment did not go through"), lines, amount)


def _received(speech: Speech, money: Money, about: About) -> _Content:
    line = speech.text("The money has arrived.")
    if about.view.is_duplicate:
        line = speech.text("This fee had been paid before. The organisers will pay one of the two back.")
    elif about.settled_by == about.view.payment_id:
        line = speech.text("The entry fee is paid. There is nothing more to do.")
    rows = ((speech.text("Amount"), speech.money(money)),)
    return _Content(speech.text("Payment received"), (line,), rows)


def _refunded(speech: Speech, money: Money, view: PaymentView, *, in_full: bool) -> _Content:
    amount = speech.money(money)
    rows = [(speech.text("Amount paid back"), amount)]
    if view.refunded != money:
        rows.append((speech.text("Paid back in all"), speech.money(view.refunded)))
    rows.append((speech.text("Amount paid"), speech.money(view.charged)))
    if in_full:
        heading = speech.text("Payment refunded")
        # all of it by now, of which this may have been the last part
        whole = speech.money(view.charged)
        first = speech.text("The entry fee has been paid back: %(amount)s.", amount=whole)
    else:
        heading = speech.text("Part of the payment refunded")
        first = speech.text("Paid back: %(amount)s. The rest of the payment stays as it is.", amount=amount)
    if view.method.is_kaspi:
        way = speech.text("The money goes back to the Kaspi account that it was paid from.")
    else:
        way = speech.counted(
            "The money goes back to the card; the bank may need up to %(n)d working day.",
            "The money goes back to the card; the bank may need up to %(n)d working days.",
            CARD_DAYS,
        )
    return _Content(heading, (first, way), tuple(rows))
