"""What the page of a payment says: from the payment and the time alone."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from procomp_pay.config.delivery import is_loopback, one_line
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.names import first_name_and_initial
from procomp_pay.domain.states import PAID_STATUSES, Channel, PaymentStatus, method_name
from procomp_pay.services.views.payment import Opening, SettledBy
from procomp_pay.translations import Translation

#: A longer time is shown as the moment of its end.
_COUNTED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a page. Two equal ones look the same, but for the time that is left.

    :param tone: ``open``, ``busy``, ``paid`` or ``over``; chooses the colours.
    :param qr: the text of the QR to show.
    :param is_handover: the QR is of the page itself: a phone takes the payment over from a tablet.
    :param caption: what to do with the QR, where that is the second way to pay.
    :param button: the text of the button that leads to the provider's page.
    :param until: the end of the time to pay, if it is counted down.
    """

    language: str
    tournament: str
    name: str
    amount: str
    tone: str
    heading: str
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    qr: str | None = field(default=None, repr=False)
    is_handover: bool = False
    caption: str = ""
    button: str | None = None
    until: datetime | None = None
    is_final: bool = False

    @property
    def version(self) -> str:
        """A word that differs where the page differs."""
        return hashlib.sha256(f"{self!r} {self.qr}".encode()).hexdigest()[:16]

    def seconds_left(self, now: datetime) -> int | None:
        """Return the seconds to count down; ``None`` for no countdown."""
        return None if self.until is None else max(0, math.ceil((self.until - now).total_seconds()))


def content(translation: Translation, opening: Opening, now: datetime, address: str) -> Content:
    """Return the content of a payment's page.

    :param address: of the page itself, for the QR by which a phone takes it over.
    """
    view, text = opening.view, translation.text
    page = _Page(translation, opening, address)
    if view.other_amount is not None:
        return page.over(
            text("Another amount arrived"), text("Please go to the registration desk, and do not pay again.")
        )
    if view.status in PAID_STATUSES:
        return page.paid()
    if view.settled_by is not None or view.is_marked_paid:
        return page.settled(view.settled_by)
    if view.status is PaymentStatus.PROCESSING:
        return page.processing()
    if view.status in (PaymentStatus.PENDING, PaymentStatus.FAILED) and view.provider_open:
        return page.waiting(now)
    return page.unpaid()


@dataclass(frozen=True, slots=True)
class _Page:
    translation: Translation
    opening: Opening
    address: str

    def make(self, tone: str, heading: str, *lines: str, **more: Any) -> Content:
        view = self.opening.view
        return Content(
            language=self.translation.language,
            tournament=one_line(view.tournament_name),
            name=one_line(first_name_and_initial(view.participant_name)),
            amount=self.translation.money(view.charged),
            tone=tone,
            heading=heading,
            lines=lines,
            # it changes no more while somebody looks at it; refunds come days later
            is_final=view.is_final and (view.status in PAID_STATUSES or not view.provider_open),
            **more,
        )

    def over(self, heading: str, *lines: str) -> Content:
        return self.make("over", heading, *lines)

    def paid(self) -> Content:
        text, view = self.translation.text, self.opening.view
        all_rows = (
            (text("Method"), method_name(view.method)),
            (text("Date"), self.translation.moment(view.completed_at or view.updated_at)),
            (text("Paid back in all"), self.translation.money(view.refunded) if view.refunded.amount else ""),
            (text("Kaspi receipt"), one_line(view.operation_number or "")),
            (text("Payment number"), view.code or view.payment_id),
        )
        rows = tuple(row for row in all_rows if row[1])
        if view.status is PaymentStatus.REFUNDED:
            return self.make("over", text("Payment refunded"), rows=rows)
        line = text("The entry fee is paid. There is nothing more to do.")
        if view.is_duplicate:
            line = text("This fee had been paid before. The organisers will pay one of the two back.")
        elif view.is_late:
            line = text("The money arrived after the time was over. The organisers will confirm it.")
        return self.make("paid", text("Paid"), line, rows=rows)

    def settled(self, settled: SettledBy | None) -> Content:
        """Return the content where the fee was paid otherwise: by another payment, or at the platform."""
        heading = self.translation.text("The entry fee is already paid")
        if settled is None:
            line = self.translation.text("The entry fee is paid. There is nothing more to do.")
            return self.make("paid", heading, line)
        line = self.translation.text(
            "It was paid by %(method)s on %(moment)s. Please do not pay again.",
            method=method_name(settled.method),
            moment=self.translation.moment(settled.at),
        )
        return self.make("paid", heading, line)

    def processing(self) -> Content:
        text = self.translation.text
        if self.opening.view.channel.is_kaspi:
            return self.make(
                "busy", text("Confirm the payment in the Kaspi app"), text("The code was scanned.")
            )
        return self.make("busy", text("The bank is working on the payment"), text("This takes a moment."))

    def unpaid(self) -> Content:
        text = self.translation.text
        if isinstance(self.opening.view.status, UnknownLabel):
            return self.over(text("Please go to the registration desk, and do not pay again."))
        if_paid = text(
            "If you did pay, do not pay a second time: we go on looking for it and will write to you."
        )
        match self.opening.view.status:
            case PaymentStatus.EXPIRED:
                line = text("No payment arrived in time. To take part, please start the payment again.")
                return self.over(text("Time to pay is over"), line, if_paid)
            case PaymentStatus.CANCELLED:
                line = text("Nothing can be paid here now. To take part, please start the payment again.")
                return self.over(text("This payment was cancelled"), line, if_paid)
        line = text("The entry fee is not paid yet. Please try again in the app or at the registration desk.")
        return self.over(text("Payment did not go through"), line)

    def waiting(self, now: datetime) -> Content:
        text, view = self.translation.text, self.opening.view
        if view.expires_at is not None and view.expires_at <= now:
            line = text("We are asking one last time whether the payment arrived.")
            return self.make("busy", text("Time to pay is over"), line)
        made = self.how_to_pay()
        if view.status is PaymentStatus.FAILED:
            lines = (text("The entry fee is not paid yet. You can try again here."),)
            made = replace(made, heading=text("Payment did not go through"), lines=lines)
        if view.expires_at is None:
            return made
        if view.expires_at - now <= _COUNTED:
            return replace(made, until=view.expires_at)
        until = text("Pay until %(moment)s.", moment=self.translation.moment(view.expires_at))
        return replace(made, lines=(*made.lines, until))

    def how_to_pay(self) -> Content:
        text, view, payload = self.translation.text, self.opening.view, self.opening.qr_payload
        if view.channel is Channel.KASPI_REMOTE:
            line = text("Open the Kaspi app on your phone and find the invoice in its messages.")
            return self.make("open", text("Pay the invoice in the Kaspi app"), line)
        if view.channel is Channel.STRIPE_INTENT:
            line = text("The payment was started in the app in which you registered.")
            return self.make("open", text("Pay in the app"), line)
        if payload is None:
            return self.make("busy", text("The payment is being prepared"), text("This takes a moment."))
        if view.channel is Channel.STRIPE_CHECKOUT:
            return self.make(
                "open",
                text("Pay the entry fee"),
                qr=self.address,
                is_handover=True,
                caption=text("Or scan the code with the camera of your phone:"),
                button=text("Pay with %(method)s", method=method_name(view.method)),
            )
        if target(self.opening):
            return self.make(
                "open",
                text("Pay in the Kaspi app"),
                qr=payload,
                caption=text("Or scan the code with the Kaspi app on another phone:"),
                button=text("Open the Kaspi app"),
            )
        return self.make(
            "open",
            text("Scan the code with the Kaspi app"),
            text("Open Kaspi.kz, choose Kaspi QR and point the camera at the code."),
            qr=payload,
        )


def target(opening: Opening) -> str | None:
    """Return the provider's page to which the button leads; ``None`` if there is none."""
    url = urlsplit(opening.payment_url or "")
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
    return opening.payment_url if is_safe else None
