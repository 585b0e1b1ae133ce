"""Statuses, refunds, disputes and audit entries as text. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.cli.framework import formats
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import AnyStatus, Channel, PaymentStatus, method_name

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.services.views.refund import DisputeView, Move, RefundView

_COLOURS: dict[str, str] = {
    PaymentStatus.PENDING: "yellow",
    PaymentStatus.PROCESSING: "cyan",
    PaymentStatus.COMPLETED: "green",
    PaymentStatus.FAILED: "red",
    PaymentStatus.EXPIRED: "red",
    PaymentStatus.CANCELLED: "yellow",
    PaymentStatus.REFUNDED: "magenta",
}


def colour(status: AnyStatus) -> str:
    """Return a status's colour."""
    return _COLOURS.get(status, "yellow")


def tournament(view: PaymentView) -> str:
    """Return the tournament with the participant's category."""
    return view.tournament_name + (f" · {view.category}" if view.category else "")


def provider(view: PaymentView) -> str:
    """Return the name of a payment's provider."""
    return "Kaspi" if view.channel.is_kaspi else "Stripe"


def while_silent(view: PaymentView) -> str:
    """Return what to do while the provider does not answer."""
    if view.channel.is_kaspi:
        return f"paid in the Kaspi Pay app? procomp-pay verify-kaspi {view.code or view.payment_id}"
    return "see in Stripe's dashboard whether it is paid"


def how_to_pay(view: PaymentView) -> str:
    """Return what the customer has to do."""
    return {
        Channel.KASPI_QR: "Scan with the Kaspi app",
        Channel.KASPI_LINK: "Open the link on the phone with the Kaspi app",
        Channel.KASPI_BILL: "Paid in the Kaspi app by its code",
        Channel.KASPI_REMOTE: "Pay the invoice in the Kaspi app on the phone",
        Channel.STRIPE_CHECKOUT: f"Scan with the camera, pay with {method_name(view.method)}",
        Channel.STRIPE_INTENT: "The app pays with the client secret",
    }[view.channel]


_WAITING = {
    Channel.KASPI_QR: "waiting for the customer to scan",
    Channel.KASPI_LINK: "waiting for the customer to open the link",
    Channel.KASPI_BILL: "a wrong amount was paid by Kaspi bill: manual review",
    Channel.KASPI_REMOTE: "waiting for the customer to pay the invoice",
    Channel.STRIPE_CHECKOUT: "waiting for the customer to pay",
    Channel.STRIPE_INTENT: "waiting for the app to pay",
}


def state(view: PaymentView) -> str:
    """Return the status in a sentence that needs no colour."""
    if view.other_amount is not None:
        received = view.other_amount.received or "another amount"
        return f"{received} came, but {view.charged} was due: it is not settled, and waits for a decision"
    if view.settled_by is not None:
        paid = f"{method_name(view.settled_by.method)}, {formats.clock_time(view.settled_by.at)}"
        return f"the fee is already paid: {paid}, payment {view.settled_by.payment_id}{_still_polled(view)}"
    if view.is_marked_paid:
        return "the platform marks the fee as paid, without a payment here: do not charge it again"
    if isinstance(view.status, UnknownLabel):
        return "a status that only the platform knows: procomp-pay leaves the payment alone"
    scanned = "scanned, waiting for confirmation" if view.channel.is_kaspi else "the bank is working on it"
    return {
        PaymentStatus.PENDING: _WAITING[view.channel],
        PaymentStatus.PROCESSING: scanned,
        PaymentStatus.COMPLETED: _paid(view),
        PaymentStatus.FAILED: _failed(view),
        PaymentStatus.REFUNDED: "refunded in full",
        PaymentStatus.EXPIRED: f"not paid, expired{_still_polled(view)}",
        PaymentStatus.CANCELLED: f"not paid, cancelled{_why_never_opened(view)}{_still_polled(view)}",
    }[view.status]


def _failed(view: PaymentView) -> str:
    because = f": {view.failure_reason}" if view.failure_reason else ""
    return f"not paid{because}" + ("; the customer can try again" if view.provider_open else "")


def _paid(view: PaymentView) -> str:
    notes = []
    if view.is_late:
        notes.append("LATE: it was paid after it had ended; manual review decides")
    if view.is_duplicate:
        notes.append("PAID TWICE: another payment settled the fee; refund this one")
    return "; ".join(["paid", *notes, *_refund_notes(view)])


def _why_never_opened(view: PaymentView) -> str:
    return f": {view.failure_reason}" if view.provider_ref is None and view.failure_reason else ""


def _still_polled(view: PaymentView) -> str:
    if not (view.provider_open and view.channel.is_kaspi):
        return ""
    return "; still polled, in case it is paid"


_ACTIONS = {
    "opened:noted": "opened at {provider}",
    "retriable:moved": "the customer may try again",
    "succeeded:moved": "PAID",
    "succeeded:mismatch": "a wrong amount was paid: for manual review",
    "failed:moved": "failed",
    "failed:noted": "failed again",
    "cancelled:moved": "cancelled",
    "expired:moved": "expired",
    "unplaced:noted": "the participant was marked as paid, which was missing",
    "cancel_requested": "cancellation requested",
    "started": "started",
    "number:noted": "operation number added",
    "number:confirmed": "operation number confirmed",
    "verify_refused": "verification refused",
    "fiscal_receipt": "number of the fiscal receipt recorded",
    "amount_accepted": "the amount that was paid was accepted",
    "payment_moved": "moved here from another participant",
}
_SOURCES = {
    "stripe_webhook": "Stripe webhook",
    "stripe_api": "Stripe, when polled",
    "kaspi_status": "Kaspi, when polled",
    "kaspi_api": "Kaspi, when polled",
    "kaspi_callback": "gateway callback",
    "kaspi_bill": "Kaspi bill",
    "clock": "by its expiry",
    "reconcile": "found by reconcile",
}


def describe_action(entry: Move, view: PaymentView) -> str:
    """Return what an audit entry records; an unknown action is shown as it is stored."""
    if (refund_action := _describe_refund_action(entry, view)) is not None:
        return refund_action
    if entry.action == "processing:moved":
        return "scanned by the customer" if view.channel.is_kaspi else "with the bank"
    if entry.action in _ACTIONS:
        return _ACTIONS[entry.action].format(provider=provider(view))
    if entry.action.endswith(":noted"):
        return f"closed at {provider(view)}"
    return entry.action.replace("_", " ").replace(":", ", ")


def describe_entry(entry: Move, view: PaymentView) -> str:
    """Return an audit entry as a sentence."""
    source = _SOURCES.get(entry.source, f"by {entry.actor}")
    note = f": {entry.note}" if entry.note else ""
    return f"{describe_action(entry, view)} ({source}){note}"


_DISPUTES = {
    DisputeState.OPEN: "open",
    DisputeState.WITHDRAWN: "open, the money is withheld meanwhile",
    DisputeState.WON: "won, the money is kept",
    DisputeState.LOST: "lost, the money is gone",
}
_REFUND_ACTIONS = {
    "refund_pending": "the refund is pending",
    "refund_failed": "the refund failed",
    "refund_cancelled": "the refund was cancelled",
    "dispute_open": "DISPUTED by the customer at the bank",
    "dispute_withdrawn": "the disputed money is withheld until the dispute is decided",
    "dispute_won": "the dispute is won, the money is kept",
    "dispute_lost": "the dispute is lost, the money is gone",
}


def _refund_notes(view: PaymentView) -> list[str]:
    """Return what to add to the sentence of a paid payment."""
    notes = []
    if view.refunded.amount:
        notes.append(f"{view.refunded} refunded")
    pending = sum(refund.state is RefundState.PENDING for refund in view.refunds)
    if pending:
        notes.append("a refund is pending" if pending == 1 else f"{pending} refunds are pending")
    if view.dispute is not None:
        notes.append(f"DISPUTE {_DISPUTES[view.dispute.state]}")
    return notes


def flag(view: PaymentView) -> str:
    """Return the dispute's flag for lists; empty where there is no dispute."""
    if view.dispute is None:
        return ""
    return "DISPUTED" if view.dispute.state.is_open else f"DISPUTE-{view.dispute.state.upper()}"


def needs_attention(view: PaymentView) -> bool:
    """Return whether a payment is late, a duplicate, disputed, or received another amount."""
    disputed = view.dispute is not None and view.dispute.holds_refunds_back
    return view.is_late or view.is_duplicate or disputed or view.other_amount is not None


def next_step(view: PaymentView) -> str | None:
    """Return the command to type for a payment that waits for a decision."""
    if view.other_amount is None:
        return None
    return f"procomp-pay discrepancies show {view.other_amount.discrepancy_id}"


def refund_line(refund: RefundView, when: str) -> str:
    """Return a refund as ``20.00 USD refunded, 14:05 by aigerim: injured (re_…)``."""
    state = {
        RefundState.PENDING: "outcome not known yet" if refund.is_unknown else "pending",
        RefundState.SUCCEEDED: "refunded",
        RefundState.FAILED: "FAILED" + (f" ({refund.failure_reason})" if refund.failure_reason else ""),
        RefundState.CANCELLED: "cancelled",
    }[refund.state]
    key = refund.provider_refund_id or refund.refund_id
    return f"{refund.money} {state}, {when} by {refund.requested_by}: {refund.reason} ({key})"


def dispute_line(dispute: DisputeView, due: str | None) -> str:
    """Return a dispute as ``50.00 USD open, evidence until Sat 2 May 14:00: fraudulent (dp_…)``."""
    until = f", evidence until {due}" if due and dispute.state.is_open else ""
    why = f": {dispute.reason.replace('_', ' ')}" if dispute.reason else ""
    return f"{dispute.money} {_DISPUTES[dispute.state]}{until}{why} ({dispute.dispute_id})"


def _describe_refund_action(entry: Move, view: PaymentView) -> str | None:
    """Return what an entry about a refund or dispute records; None for any other entry."""
    money = Money(entry.amount, view.charged.currency) if entry.amount is not None else None
    match entry.action:
        case "refund_requested":
            return f"refund of {money} requested"
        case "refund_succeeded":
            return f"{money} REFUNDED" if money else "a refund succeeded"
        case "refund_failed" if money is not None:
            return f"the refund of {money} failed"
    return _REFUND_ACTIONS.get(entry.action)
