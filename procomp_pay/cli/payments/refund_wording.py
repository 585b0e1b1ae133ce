"""Refunds and disputes in words. Pure, as :mod:`words`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState, RefundState

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.services.views.refund import DisputeView, Move, RefundView

_DISPUTES = {
    DisputeState.OPEN: "open",
    DisputeState.WITHDRAWN: "open, the money is held meanwhile",
    DisputeState.WON: "won, the money stays",
    DisputeState.LOST: "lost, the money is gone",
}
_MOVES = {
    "refund_pending": "the refund is on its way",
    "refund_failed": "the refund failed",
    "refund_cancelled": "the refund was cancelled",
    "dispute_open": "DISPUTED by the customer at the bank",
    "dispute_withdrawn": "the disputed money is held while the dispute lasts",
    "dispute_won": "the dispute is won, the money stays",
    "dispute_lost": "the dispute is lost, the money is gone",
}


def notes(view: PaymentView) -> list[str]:
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


def move(entry: Move, view: PaymentView) -> str | None:
    """An entry about money that goes back; ``None`` for any other."""
    money = Money(entry.amount, view.charged.currency) if entry.amount is not None else None
    match entry.action:
        case "refund_requested":
            return f"asked to pay back {money}"
        case "refund_succeeded":
            return f"{money} PAID BACK" if money else "a refund went through"
        case "refund_failed" if money is not None:
            return f"the refund failed, {money} came back to us"
    return _MOVES.get(entry.action)
