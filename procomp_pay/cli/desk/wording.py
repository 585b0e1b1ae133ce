"""The desk's texts: states, amounts, times and errors in plain words, in the clerk's language."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from procomp_pay.cli.display.wording import not_opened
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _, language
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import Channel, PaymentStatus, method_name
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.services.views.refund import RefundView


def money(value: Money) -> str:
    """Return an amount without empty decimals."""
    from procomp_pay.translations import Translation

    return Translation(language()).short_money(value)


def provider(channel: Channel) -> str:
    """Return the name of a channel's provider."""
    return "Kaspi" if channel.is_kaspi else "Stripe"


def when(at: datetime, now: datetime) -> str:
    """Return a time: ``14:05`` today, ``02.05 14:05`` on another day."""
    local = at.astimezone(formats.almaty())
    is_today = local.date() == now.astimezone(formats.almaty()).date()
    return f"{local:%H:%M}" if is_today else f"{local:%d.%m %H:%M}"


def waiting_for(view: PaymentView, now: datetime) -> str:
    """Return how long a payment has been waiting."""
    return _("%(n)d min", n=max(0, int((now - view.created_at).total_seconds() // 60)))


_SHORT: dict[str, str] = {
    PaymentStatus.PENDING: N_("waits"),
    PaymentStatus.PROCESSING: N_("confirming"),
    PaymentStatus.COMPLETED: N_("paid"),
    PaymentStatus.FAILED: N_("declined"),
    PaymentStatus.REFUNDED: N_("refunded"),
    PaymentStatus.CANCELLED: N_("cancelled"),
    PaymentStatus.EXPIRED: N_("expired"),
}


def short_state(view: PaymentView) -> str:
    """Return the state of a payment in one or two words, for a list."""
    if view.other_amount is not None:
        return _("other amount")
    if view.is_duplicate:
        return _("paid twice")
    if view.is_late:
        return _("paid late")
    return _(_SHORT[view.status]) if view.status in _SHORT else view.status


def state(view: PaymentView, now: datetime) -> str:
    """Return the state of a payment as a sentence."""
    if view.other_amount is not None:
        received = console.clean(view.other_amount.received or "?")
        return _(
            "%(received)s came, but %(due)s was due. It waits for a decision: call the administrator.",
            received=received,
            due=money(view.charged),
        )
    if view.settled_by is not None:
        return _(
            "The fee is already paid: %(method)s, %(when)s.",
            method=method_name(view.settled_by.method),
            when=when(view.settled_by.at, now),
        )
    if view.is_marked_paid:
        return _("The fee is already paid.")
    if view.status is PaymentStatus.PENDING:
        return _pending(view)
    if isinstance(view.status, UnknownLabel):
        return view.status
    return {
        PaymentStatus.PROCESSING: _("Scanned. The customer is confirming now.")
        if view.channel.is_kaspi
        else _("The bank is working on it."),
        PaymentStatus.COMPLETED: _completed(view),
        PaymentStatus.FAILED: _failed(view),
        PaymentStatus.REFUNDED: _("Refunded in full."),
        PaymentStatus.EXPIRED: _("Not paid: the time is over."),
        PaymentStatus.CANCELLED: _cancelled(view, now),
    }[view.status]


def _pending(view: PaymentView) -> str:
    if (why := not_opened(view)) is not None:
        return f"{why}."
    if view.channel is Channel.KASPI_QR:
        return _("The customer scans this with the Kaspi app.")
    if view.channel is Channel.STRIPE_CHECKOUT:
        return _(
            "The customer scans this with the camera and pays with %(method)s.",
            method=method_name(view.method),
        )
    return _("Waiting for the customer to pay.")


_DECLINES = {
    "insufficient_funds": N_("The bank declined: not enough money on the card."),
    "expired_card": N_("The bank declined: the card has expired."),
    "incorrect_cvc": N_("The bank declined: the card's security code is wrong."),
    "authentication": N_("The bank declined: the customer did not confirm it."),
}


def _failed(view: PaymentView) -> str:
    if view.channel.is_kaspi:
        return _("Not paid: Kaspi declined, or the customer did. Start again.")
    reason = view.failure_reason or ""
    text = next((text for code, text in _DECLINES.items() if code in reason), N_("The bank declined."))
    retry = " " + _("The customer can try again on the same page.") if view.provider_open else ""
    return _(text) + retry


def _cancelled(view: PaymentView, now: datetime) -> str:
    if view.provider_open and view.channel.is_kaspi and view.expires_at is not None and view.expires_at > now:
        return _(
            "Cancelled. Kaspi cannot recall a QR: it stays valid until %(when)s, do not show it any more.",
            when=when(view.expires_at, now),
        )
    return _("Not paid: cancelled.")


def _completed(view: PaymentView) -> str:
    notes = [_("Paid.")]
    if view.is_late:
        notes.append(_("It came after the payment had ended: tell the administrator."))
    if view.is_duplicate:
        notes.append(_("PAID TWICE: another payment settled the fee; refund this one."))
    notes += [refund_state(refund) for refund in view.refunds]
    if view.dispute is not None and view.dispute.holds_refunds_back:
        notes.append(_("The customer disputes it at the bank: do not refund it."))
    return " ".join(notes)


def refund_state(refund: RefundView) -> str:
    """Return a refund as a sentence."""
    text = {
        RefundState.PENDING: N_("A refund of %(money)s is on its way."),
        RefundState.SUCCEEDED: N_("%(money)s refunded."),
        RefundState.FAILED: N_("The refund of %(money)s failed."),
        RefundState.CANCELLED: N_("The refund of %(money)s was cancelled."),
    }[refund.state]
    return _(text, money=money(refund.money))


#: Kaspi's answers about a payment that is being verified, by the value of the answer.
KASPI_ANSWERS = {
    "paid": N_("Kaspi confirmed it."),
    "no_answer": N_("Verified by you. Kaspi does not answer and is asked again later."),
    "cannot_be_asked": N_("Verified by you. Kaspi cannot be asked about it now."),
}


def columns(cells: list[tuple[str, int]]) -> str:
    """Return cells side by side; a negative width aligns to the right."""
    parts = []
    for text, width in cells:
        short = console.shortened(console.clean(text), abs(width))
        gap = " " * (abs(width) - console.width_of(short))
        parts.append(gap + short if width < 0 else short + gap)
    return "  ".join(parts).rstrip()


def is_no_refund_by_api(error: PaymentError) -> bool:
    """Return whether a refund has to be made in the Kaspi Pay app."""
    return re.search(r"no refund by API|own API|does not know this payment", error.message) is not None
