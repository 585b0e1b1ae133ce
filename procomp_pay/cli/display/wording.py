"""Statuses, refunds, disputes and audit entries as text. Pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import formats
from procomp_pay.cli.framework.language import _, language, translated
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import AnyStatus, Channel, PaymentStatus, method_name
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.views.history import Move
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.services.views.refund import DisputeView, RefundView

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


#: The statuses in capital letters, as a list shows them; the database and ``--json`` have the English ones.
STATUSES: dict[str, str] = {
    PaymentStatus.PENDING: N_("PENDING"),
    PaymentStatus.PROCESSING: N_("PROCESSING"),
    PaymentStatus.COMPLETED: N_("COMPLETED"),
    PaymentStatus.FAILED: N_("FAILED"),
    PaymentStatus.EXPIRED: N_("EXPIRED"),
    PaymentStatus.CANCELLED: N_("CANCELLED"),
    PaymentStatus.REFUNDED: N_("REFUNDED"),
}


def status(status: AnyStatus) -> str:
    """Return a status; one that only the platform knows as it is."""
    return _(STATUSES[status]) if status in STATUSES else str(status)


#: Stripe's codes in words: of declines, disputes, and of refunds that failed or were made there. See
#: https://docs.stripe.com/declines/codes and ``reason`` and ``failure_reason`` in its reference.
_CODES = {
    "account_closed": N_("the bank account is closed"),
    "account_frozen": N_("the bank account is blocked"),
    "authentication_required": N_("the customer has to confirm it at the bank"),
    "bank_cannot_process": N_("the bank could not process it"),
    "card_declined": N_("the bank declined the card"),
    "card_not_supported": N_("the card does not allow it"),
    "card_velocity_exceeded": N_("the card's limit is exceeded"),
    "charge_for_pending_refund_disputed": N_("the payment is disputed"),
    "check_returned": N_("the check was returned"),
    "could_not_process": N_("the bank could not process it"),
    "credit_not_processed": N_("a refund was not received"),
    "debit_not_authorized": N_("the debit was not authorized"),
    "declined": N_("the bank declined it"),
    "do_not_honor": N_("the bank declined the card"),
    "duplicate": N_("charged twice"),
    "expired_card": N_("the card has expired"),
    "expired_or_canceled_card": N_("the card has expired or is closed"),
    "expired_uncaptured_charge": N_("the payment expired"),
    "fraudulent": N_("fraudulent"),
    "general": N_("no reason given"),
    "generic_decline": N_("the bank declined the card"),
    "incorrect_account_details": N_("wrong account details"),
    "incorrect_cvc": N_("wrong security code of the card"),
    "incorrect_number": N_("wrong card number"),
    "insufficient_funds": N_("not enough money"),
    "invalid_account_number": N_("wrong account details"),
    "lost_card": N_("the card is lost"),
    "lost_or_stolen_card": N_("the card is lost or stolen"),
    "no_account": N_("there is no such bank account"),
    "noncompliant": N_("against the rules of the card network"),
    "payment_intent_authentication_failure": N_("the customer did not confirm it at the bank"),
    "processing_error": N_("the bank could not process it"),
    "product_not_received": N_("the service was not received"),
    "product_unacceptable": N_("the service was not as described"),
    "refused": N_("refused"),
    "requested_by_customer": N_("requested by the customer"),
    "stolen_card": N_("the card is stolen"),
    "subscription_canceled": N_("the subscription was cancelled"),
    "try_again_later": N_("the bank could not process it"),
    "unknown": N_("no reason given"),
    "unrecognized": N_("the customer does not recognize it"),
}
_CODE = re.compile(r"(?:.* \()?([a-z_]+)\)?")


def reason(text: str) -> str:
    """Return a stored reason or note in the clerk's language: one of ours, or a provider's with a code that
    is known. A person's own sentence stays, and in English all."""
    if language() is Language.ENGLISH:
        return text
    told = translated(text)
    code = _CODE.fullmatch(text)
    return _(_CODES[code[1]]) if told == text and code is not None and code[1] in _CODES else told


def code(name: str) -> str:
    """Return a kind as it is stored, and typed after ``--kind``; in another language in words."""
    return name if language() is Language.ENGLISH else kind(name)


def kind(name: str) -> str:
    """Return the kind of a discrepancy in words."""
    return _(name.lower().replace("_", " "))


#: How a discrepancy was resolved, and what proved by which line of the bank a payout arrived.
HOW = {
    "accept": N_("accepted"),
    "fix": N_("by the provider's answer"),
    "refund": N_("refunded"),
    "write-off": N_("written off"),
    "gone": N_("not found any more"),
    "reference": N_("by its reference"),
    "amount": N_("by its amount"),
    "amount and day": N_("by amount and day"),
    "sum of several": N_("sum of several"),
    "by hand": N_("by hand"),
}
#: What a provider says of a payment, a refund or a dispute.
STANDS = {"paid": N_("completed"), "open": N_("not completed yet"), "ended": N_("not made")}
#: Kinds of a provider's movements, for the catalogue.
_MOVEMENTS = (
    N_("payment"), N_("refund"), N_("refund failed"), N_("dispute"), N_("dispute reversed"), N_("other"),
    N_("payments"), N_("refunds"),
)  # fmt: skip
_APPROVALS = {
    "refund_all": N_("refund a whole tournament"),
    "override": N_("accept a Kaspi payment despite a failed check"),
    "write_off": N_("accept or write off a discrepancy"),
}


def approval(action: str) -> str:
    """Return what a second operator is asked to approve."""
    return _(_APPROVALS.get(action, action))


def tournament(view: PaymentView) -> str:
    """Return the tournament with the participant's category."""
    return view.tournament_name + (f" · {view.category}" if view.category else "")


def provider(view: PaymentView) -> str:
    """Return the name of a payment's provider."""
    return "Kaspi" if view.channel.is_kaspi else "Stripe"


def while_silent(view: PaymentView) -> str:
    """Return what to do while the provider does not answer."""
    if view.channel.is_kaspi:
        return _(
            "paid in the Kaspi Pay app? procomp-pay verify-kaspi %(payment)s",
            payment=view.code or view.payment_id,
        )
    return _("see in Stripe's dashboard whether it is paid")


def how_to_pay(view: PaymentView) -> str:
    """Return what the customer has to do."""
    return {
        Channel.KASPI_QR: _("Scan with the Kaspi app"),
        Channel.KASPI_LINK: _("Open the link on the phone with the Kaspi app"),
        Channel.KASPI_BILL: _("Paid in the Kaspi app by its code"),
        Channel.KASPI_REMOTE: _("Pay the invoice in the Kaspi app on the phone"),
        Channel.STRIPE_CHECKOUT: _(
            "Scan with the camera, pay with %(method)s", method=method_name(view.method)
        ),
        Channel.STRIPE_INTENT: _("The app pays with the client secret"),
    }[view.channel]


_WAITING = {
    Channel.KASPI_QR: N_("waiting for the customer to scan"),
    Channel.KASPI_LINK: N_("waiting for the customer to open the link"),
    Channel.KASPI_BILL: N_("a wrong amount was paid by Kaspi bill: manual review"),
    Channel.KASPI_REMOTE: N_("waiting for the customer to pay the invoice"),
    Channel.STRIPE_CHECKOUT: N_("waiting for the customer to pay"),
    Channel.STRIPE_INTENT: N_("waiting for the app to pay"),
}


def state(view: PaymentView) -> str:
    """Return the status in a sentence that needs no colour."""
    if view.other_amount is not None:
        return _(
            "%(received)s came, but %(due)s was due: it is not settled, and waits for a decision",
            received=view.other_amount.received or N_("another amount"),
            due=view.charged,
        )
    if view.settled_by is not None:
        paid = _(
            "the fee is already paid: %(method)s, %(time)s, payment %(payment)s",
            method=method_name(view.settled_by.method),
            time=formats.clock_time(view.settled_by.at),
            payment=view.settled_by.payment_id,
        )
        return paid + _still_polled(view)
    if view.is_marked_paid:
        return _("the platform marks the fee as paid, without a payment here: do not charge it again")
    if isinstance(view.status, UnknownLabel):
        return _("a status that only the platform knows: procomp-pay leaves the payment alone")
    scanned = (
        _("scanned, waiting for confirmation") if view.channel.is_kaspi else _("the bank is working on it")
    )
    return {
        PaymentStatus.PENDING: not_opened(view) or _(_WAITING[view.channel]),
        PaymentStatus.PROCESSING: scanned,
        PaymentStatus.COMPLETED: _paid(view),
        PaymentStatus.FAILED: _failed(view),
        PaymentStatus.REFUNDED: _("refunded in full"),
        PaymentStatus.EXPIRED: _("not paid, expired") + _still_polled(view),
        PaymentStatus.CANCELLED: _("not paid, cancelled") + _why_never_opened(view) + _still_polled(view),
    }[view.status]


def not_opened(view: PaymentView) -> str | None:
    """Return that the customer cannot pay yet: the provider has not answered. ``None`` if that is not so."""
    opened_here = (Channel.KASPI_QR, Channel.KASPI_LINK, Channel.STRIPE_CHECKOUT)
    if view.provider_ref is not None or view.channel not in opened_here:
        return None
    return _("%(provider)s has not answered yet: there is nothing to pay", provider=provider(view))


def _failed(view: PaymentView) -> str:
    because = f": {reason(view.failure_reason)}" if view.failure_reason else ""
    return _("not paid") + because + ("; " + _("the customer can try again") if view.provider_open else "")


def _paid(view: PaymentView) -> str:
    notes = []
    if view.is_late:
        notes.append(_("LATE: it was paid after it had ended; manual review decides"))
    if view.is_duplicate:
        notes.append(_("PAID TWICE: another payment settled the fee; refund this one"))
    return "; ".join([_("paid"), *notes, *_refund_notes(view)])


def _why_never_opened(view: PaymentView) -> str:
    return f": {reason(view.failure_reason)}" if view.provider_ref is None and view.failure_reason else ""


def _still_polled(view: PaymentView) -> str:
    if not (view.provider_open and view.channel.is_kaspi):
        return ""
    return "; " + _("still polled, in case it is paid")


_ACTIONS = {
    "opened:noted": N_("opened at %(provider)s"),
    "retriable:moved": N_("the customer may try again"),
    "succeeded:moved": N_("PAID"),
    "succeeded:mismatch": N_("a wrong amount was paid: for manual review"),
    "failed:moved": N_("failed"),
    "failed:noted": N_("failed again"),
    "cancelled:moved": N_("cancelled"),
    "expired:moved": N_("expired"),
    "unplaced:noted": N_("the participant was marked as paid, which was missing"),
    "cancel_requested": N_("cancellation requested"),
    "started": N_("started"),
    "number:noted": N_("operation number added"),
    "number:confirmed": N_("operation number confirmed"),
    "verify_refused": N_("verification refused"),
    "fiscal_receipt": N_("number of the fiscal receipt recorded"),
    "amount_accepted": N_("the amount that was paid was accepted"),
    "payment_moved": N_("moved here from another participant"),
}
_SOURCES = {
    "stripe_webhook": N_("Stripe webhook"),
    "stripe_api": N_("Stripe, when polled"),
    "kaspi_status": N_("Kaspi, when polled"),
    "kaspi_api": N_("Kaspi, when polled"),
    "kaspi_callback": N_("gateway callback"),
    "kaspi_bill": N_("Kaspi bill"),
    "clock": N_("by its expiry"),
    "reconcile": N_("found by reconcile"),
}


def describe_action(entry: Move, view: PaymentView) -> str:
    """Return what an audit entry records; an unknown action is shown as it is stored."""
    if (refund_action := _describe_refund_action(entry, view)) is not None:
        return refund_action
    if entry.action == "processing:moved":
        return _("scanned by the customer") if view.channel.is_kaspi else _("with the bank")
    if entry.action in _ACTIONS:
        text = _ACTIONS[entry.action]
        return _(text, provider=provider(view)) if "%(" in text else _(text)
    if entry.action.endswith(":noted"):
        return _("closed at %(provider)s", provider=provider(view))
    return _(entry.action.replace("_", " ").replace(":", ", "))


def describe_entry(entry: Move, view: PaymentView) -> str:
    """Return an audit entry as a sentence."""
    known = _SOURCES.get(entry.source)
    source = _("by %(name)s", name=entry.actor) if known is None else _(known)
    note = f": {reason(entry.note)}" if entry.note else ""
    return f"{describe_action(entry, view)} ({source}){note}"


_DISPUTES = {
    DisputeState.OPEN: N_("open"),
    DisputeState.WITHDRAWN: N_("open, the money is withheld meanwhile"),
    DisputeState.WON: N_("won, the money is kept"),
    DisputeState.LOST: N_("lost, the money is gone"),
}
_REFUND_ACTIONS = {
    "refund_pending": N_("the refund is pending"),
    "refund_failed": N_("the refund failed"),
    "refund_cancelled": N_("the refund was cancelled"),
    "dispute_open": N_("DISPUTED by the customer at the bank"),
    "dispute_withdrawn": N_("the disputed money is withheld until the dispute is decided"),
    "dispute_won": N_("the dispute is won, the money is kept"),
    "dispute_lost": N_("the dispute is lost, the money is gone"),
}


def _refund_notes(view: PaymentView) -> list[str]:
    """Return what to add to the sentence of a paid payment."""
    notes = []
    if view.refunded.amount:
        notes.append(_("%(money)s refunded", money=view.refunded))
    pending = sum(refund.state is RefundState.PENDING for refund in view.refunds)
    if pending:
        notes.append(_("a refund is pending") if pending == 1 else _("%(n)s refunds are pending", n=pending))
    if view.dispute is not None:
        notes.append(_("DISPUTE %(state)s", state=_(_DISPUTES[view.dispute.state])))
    return notes


def flag(view: PaymentView) -> str:
    """Return the dispute's flag for lists; empty where there is no dispute."""
    if view.dispute is None:
        return ""
    if view.dispute.state.is_open:
        return _("DISPUTED")
    return _("DISPUTE-WON") if view.dispute.state is DisputeState.WON else _("DISPUTE-LOST")


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
        RefundState.PENDING: _("outcome not known yet") if refund.is_unknown else _("pending"),
        RefundState.SUCCEEDED: _("refunded"),
        RefundState.FAILED: _("FAILED")
        + (f" ({reason(refund.failure_reason)})" if refund.failure_reason else ""),
        RefundState.CANCELLED: _("cancelled"),
    }[refund.state]
    key = refund.provider_refund_id or refund.refund_id
    return _(
        "%(money)s %(state)s, %(when)s by %(name)s: %(reason)s (%(number)s)",
        money=refund.money,
        state=state,
        when=when,
        name=refund.requested_by,
        reason=reason(refund.reason),
        number=key,
    )


def dispute_line(dispute: DisputeView, due: str | None) -> str:
    """Return a dispute as ``50.00 USD open, evidence until Sat 2 May 14:00: fraudulent (dp_…)``."""
    until = ", " + _("evidence until %(time)s", time=due) if due and dispute.state.is_open else ""
    why = f": {reason(dispute.reason).replace('_', ' ')}" if dispute.reason else ""
    money, state = formats.money(dispute.money), _(_DISPUTES[dispute.state])
    return f"{money} {state}{until}{why} ({dispute.dispute_id})"


def _describe_refund_action(entry: Move, view: PaymentView) -> str | None:
    """Return what an entry about a refund or dispute records; None for any other entry."""
    money = Money(entry.amount, view.charged.currency) if entry.amount is not None else None
    match entry.action:
        case "refund_requested":
            return _("refund of %(money)s requested", money=money)
        case "refund_succeeded":
            return _("%(money)s REFUNDED", money=money) if money else _("a refund succeeded")
        case "refund_failed" if money is not None:
            return _("the refund of %(money)s failed", money=money)
    known = _REFUND_ACTIONS.get(entry.action)
    return None if known is None else _(known)
