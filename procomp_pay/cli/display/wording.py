"""Times, states and moves in words for the desk. Pure: what they say is tested without a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.services.views.refund import DisputeView, Move, RefundView

METHODS = {
    PaymentMethod.KASPI_QR: "Kaspi QR",
    PaymentMethod.APPLE_PAY: "Apple Pay",
    PaymentMethod.GOOGLE_PAY: "Google Pay",
}
COLOURS = {
    PaymentStatus.PENDING: "yellow",
    PaymentStatus.PROCESSING: "cyan",
    PaymentStatus.COMPLETED: "green",
    PaymentStatus.FAILED: "red",
    PaymentStatus.EXPIRED: "red",
    PaymentStatus.CANCELLED: "yellow",
    PaymentStatus.REFUNDED: "magenta",
}


def tournament(view: PaymentView) -> str:
    """Return the tournament with the participant's category."""
    return view.tournament_name + (f" · {view.category}" if view.category else "")


def how_to_pay(view: PaymentView) -> str:
    """What the customer does now."""
    return {
        Channel.KASPI_QR: "Scan with the Kaspi app",
        Channel.KASPI_LINK: "Open the link on the phone with the Kaspi app",
        Channel.KASPI_BILL: "Paid in the Kaspi app by its code",
        Channel.KASPI_REMOTE: "Pay the invoice in the Kaspi app on the phone",
        Channel.STRIPE_CHECKOUT: f"Scan with the camera, pay with {METHODS[view.method]}",
        Channel.STRIPE_INTENT: "The app pays with the client secret",
    }[view.channel]


_WAITING = {
    Channel.KASPI_QR: "waiting for the customer to scan",
    Channel.KASPI_LINK: "waiting for the customer to open the link",
    Channel.KASPI_BILL: "money of another amount came by Kaspi's bill: a person decides",
    Channel.KASPI_REMOTE: "waiting for the customer to pay the invoice",
    Channel.STRIPE_CHECKOUT: "waiting for the customer to pay",
    Channel.STRIPE_INTENT: "waiting for the app to pay",
}


def state(view: PaymentView) -> str:
    """How a payment stands, in one sentence that needs no colour."""
    scanned = "scanned, waiting for confirmation" if view.channel.is_kaspi else "the bank is working on it"
    return {
        PaymentStatus.PENDING: _WAITING[view.channel],
        PaymentStatus.PROCESSING: scanned,
        PaymentStatus.COMPLETED: _paid(view),
        PaymentStatus.FAILED: _failed(view),
        PaymentStatus.REFUNDED: "paid back in full",
        PaymentStatus.EXPIRED: f"not paid, time is over{_still_watched(view)}",
        PaymentStatus.CANCELLED: f"not paid, cancelled{_still_watched(view)}",
    }[view.status]


def _failed(view: PaymentView) -> str:
    because = f": {view.failure_reason}" if view.failure_reason else ""
    return f"not paid{because}" + ("; the customer can try again" if view.provider_open else "")


def _paid(view: PaymentView) -> str:
    notes = []
    if view.is_late:
        notes.append("LATE: it came after the end, a person decides what becomes of it")
    if view.is_duplicate:
        notes.append("PAID TWICE: another payment took the place, this one goes back")
    return "; ".join(["paid", *notes, *_refund_notes(view)])


def _still_watched(view: PaymentView) -> str:
    if not (view.provider_open and view.channel.is_kaspi):
        return ""
    return "; still watched, in case money comes"


_MOVES = {
    "opened:noted": "opened at {provider}",
    "retriable:moved": "the customer may try again",
    "succeeded:moved": "PAID",
    "succeeded:mismatch": "another amount than the fee came: kept for a person",
    "failed:moved": "failed",
    "failed:noted": "failed again",
    "cancelled:moved": "cancelled",
    "expired:moved": "its time was over",
    "unplaced:noted": "the participant's place was missing, and was given",
    "cancel_requested": "asked to be cancelled",
    "started": "started",
    "number:noted": "operation number added",
    "number:confirmed": "operation number confirmed",
    "verify_refused": "verification refused",
    "amount_accepted": "another amount was accepted: the books have what came",
}
_SOURCES = {
    "stripe_webhook": "Stripe told us",
    "stripe_api": "Stripe, when asked",
    "kaspi_status": "Kaspi, when asked",
    "kaspi_api": "Kaspi, when asked",
    "kaspi_callback": "the gateway told us",
    "kaspi_bill": "Kaspi told us",
    "clock": "by the clock",
    "reconcile": "found by reconcile",
}


def deed(entry: Move, view: PaymentView) -> str:
    """What an entry of the audit trail did; what is unknown is shown as it stands."""
    kaspi = view.channel.is_kaspi
    if (back := _refund_move(entry, view)) is not None:
        said = back
    elif entry.action == "processing:moved":
        said = "scanned by the customer" if kaspi else "with the bank"
    elif entry.action.endswith(":noted") and entry.action not in _MOVES:
        said = f"closed at {'Kaspi' if kaspi else 'Stripe'}"
    else:
        said = _MOVES.get(entry.action, entry.action.replace("_", " ").replace(":", ", "))
        said = said.format(provider="Kaspi" if kaspi else "Stripe") if entry.action in _MOVES else said
    return said


def move(entry: Move, view: PaymentView) -> str:
    """One entry of the audit trail as a sentence."""
    said = deed(entry, view)
    who = _SOURCES.get(entry.source, f"by {entry.actor}")
    note = f": {entry.note}" if entry.note else ""
    return f"{said} ({who}){note}"


_DISPUTES = {
    DisputeState.OPEN: "open",
    DisputeState.WITHDRAWN: "open, the money is held meanwhile",
    DisputeState.WON: "won, the money stays",
    DisputeState.LOST: "lost, the money is gone",
}
_REFUND_MOVES = {
    "refund_pending": "the refund is on its way",
    "refund_failed": "the refund failed",
    "refund_cancelled": "the refund was cancelled",
    "dispute_open": "DISPUTED by the customer at the bank",
    "dispute_withdrawn": "the disputed money is held while the dispute lasts",
    "dispute_won": "the dispute is won, the money stays",
    "dispute_lost": "the dispute is lost, the money is gone",
}


def _refund_notes(view: PaymentView) -> list[str]:
    """What a paid payment's sentence says besides."""
    found = []
    if view.refunded.amount:
        found.append(f"{view.refunded} paid back")
    waiting = sum(each.state is RefundState.PENDING for each in view.refunds)
    if waiting:
        found.append("a refund is on its way" if waiting == 1 else f"{waiting} refunds are on their way")
    if view.dispute is not None:
        found.append(f"DISPUTE {_DISPUTES[view.dispute.state]}")
    return found


def flag(view: PaymentView) -> str:
    """A word for lists; empty where there is no dispute."""
    if view.dispute is None:
        return ""
    return "DISPUTED" if view.dispute.state.is_open else f"DISPUTE-{view.dispute.state.upper()}"


def is_odd(view: PaymentView) -> bool:
    """A person should look at it."""
    return view.is_late or view.is_duplicate or (view.dispute is not None and view.dispute.holds_refunds_back)


def refund_line(refund: RefundView, when: str) -> str:
    """``20.00 USD paid back, 14:05 by aigerim: injured (re_…)``."""
    how = {
        RefundState.PENDING: "not known yet, followed up" if refund.is_unknown else "on its way",
        RefundState.SUCCEEDED: "paid back",
        RefundState.FAILED: "FAILED" + (f" ({refund.failure_reason})" if refund.failure_reason else ""),
        RefundState.CANCELLED: "cancelled",
    }[refund.state]
    name = refund.provider_refund_id or refund.refund_id
    return f"{refund.money} {how}, {when} by {refund.requested_by}: {refund.reason} ({name})"


def dispute_line(dispute: DisputeView, due: str | None) -> str:
    """``50.00 USD open, evidence until Sat 2 May 14:00: fraudulent (dp_…)``."""
    until = f", evidence until {due}" if due and dispute.state.is_open else ""
    why = f": {dispute.reason.replace('_', ' ')}" if dispute.reason else ""
    return f"{dispute.money} {_DISPUTES[dispute.state]}{until}{why} ({dispute.dispute_id})"


def _refund_move(entry: Move, view: PaymentView) -> str | None:
    """An entry about money that goes back; ``None`` for any other."""
    money = Money(entry.amount, view.charged.currency) if entry.amount is not None else None
    match entry.action:
        case "refund_requested":
            return f"asked to pay back {money}"
        case "refund_succeeded":
            return f"{money} PAID BACK" if money else "a refund went through"
        case "refund_failed" if money is not None:
            return f"the refund failed, {money} came back to us"
    return _REFUND_MOVES.get(entry.action)
