"""Verify a Kaspi payment manually, by the operation number on the customer's receipt.

Kaspi is asked first, if possible: its status settles the payment, and if it reports the payment as unpaid the
receipt is rejected, because receipts can be forged. If Kaspi does not answer, the operator's statement counts
and the QR is still polled: if Kaspi's final status is unpaid, a discrepancy naming the operator is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.errors import Conflict, ErrorCode, Forbidden, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.kaspi_verification import (
    KaspiAnswer,
    Objection,
    PaymentWindow,
    ReceiptClaim,
    find_objections,
)
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.operation_number import read as read_number
from procomp_pay.domain.operators import Right, needs_second_person
from procomp_pay.domain.refunds import kaspi_refund_id
from procomp_pay.domain.states import AnyStatus, PaymentStatus
from procomp_pay.domain.text import N_, Text
from procomp_pay.domain.transitions import Outcome
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.kaspi_verification.provider_check import KaspiResult, ask_kaspi
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.services.operators import authorize
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.operation_numbers import number_already_used, payment_already_settled
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.payments import idempotency, refunds
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment
from procomp_pay.storage.reconciliation import discrepancies

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """The request to verify a payment.

    :param number: the operation number as typed.
    :param money: the paid amount; ``None`` for the charged amount.
    :param paid_at: the time of the payment, with a time zone; ``None`` if unknown.
    :param override: accept the payment despite an objection; ``reason`` is then required.
    """

    payment_id: str
    number: str
    money: Money | None = None
    paid_at: datetime | None = None
    override: bool = False
    reason: str | None = None
    idempotency_key: str | None = None

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """Return the claim on the idempotency key of ``actor``; ``None`` without a key."""
        content = {
            "payment_id": self.payment_id,
            "number": self.number,
            "money": [self.money.amount, self.money.currency.value] if self.money else None,
            "paid_at": self.paid_at.isoformat() if self.paid_at else None,
            "override": self.override,
            "reason": self.reason,
        }
        return idempotency.claim_of(f"verify:{actor.scope}", self.idempotency_key, content)


@dataclass(frozen=True, slots=True)
class Verified:
    """The payment is COMPLETED with this number.

    :param already: it was already COMPLETED with it, and nothing was written.
    :param overridden: the objections that were overridden; each is an open discrepancy.
    """

    payment_id: str
    status: AnyStatus
    number: str
    money: Money
    already: bool
    late: bool
    duplicate: bool
    kaspi: KaspiAnswer
    overridden: tuple[str, ...] = field(default=())


async def verify(ctx: AppContext, request: VerificationRequest, actor: Actor) -> Verified:
    """Settle a Kaspi payment by manual verification.

    :raises NotFound: no such payment.
    :raises Refused: not a Kaspi payment, not an operation number, or a different amount without an override.
    :raises Conflict: the number settled another payment, the payment has another number or is refunded, or
        Kaspi or the date contradict it and there is no override.
    """
    number = read_number(request.number)
    _check_override(request)
    try:
        async with ctx.db.reading() as session:
            locked = await load_payment(session, request.payment_id)
            if await _is_known(session, request, actor):
                return _result(locked, request, number, KaspiAnswer.CANNOT_BE_ASKED)
            _check_kind(locked)
            await _check_number(session, locked, number)  # report it at once, before Kaspi is asked
        kaspi = KaspiResult(KaspiAnswer.CANNOT_BE_ASKED)
        if locked.payment.status is not PaymentStatus.COMPLETED:
            kaspi = await ask_kaspi(ctx, locked, actor, number)
        async with ctx.db.writing() as session:
            return await _verify(session, ctx, request, number, actor, kaspi)
    except (Refused, Conflict) as error:
        await _record_refusal(ctx, request, number, actor, error)
        raise


def _check_override(request: VerificationRequest) -> None:
    reason = request.reason or ""
    if request.override and not reason.strip():
        raise Refused(N_("An override needs a reason"), next_step=N_('add: --reason "…"'))
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(N_("A reason is 1 to %(most)s printable characters", most=_LONGEST_REASON))


def _check_kind(locked: OrmLockedPayment) -> None:
    if not locked.detail.channel.is_kaspi:
        raise Refused(
            N_(
                "Payment %(payment)s is not a Kaspi payment; Stripe reports its status itself",
                payment=locked.payment.id,
            ),
            next_step=f"procomp-pay status --payment {locked.payment.id} --refresh",
        )
    if isinstance(locked.payment.status, UnknownLabel):
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s, which only the platform knows: it is left alone",
                payment=locked.payment.id,
                status=locked.payment.status,
            ),
            next_step=N_("decide in the platform what it is, then verify it again"),
        )
    if locked.payment.status is PaymentStatus.REFUNDED:
        raise Conflict(
            N_("Payment %(payment)s has been refunded in full", payment=locked.payment.id),
            code=ErrorCode.ALREADY_REFUNDED,
            next_step=N_(
                "start a new one: procomp-pay initiate %(participant)s --method kaspi_qr",
                participant=locked.detail.participant_id,
            ),
        )


async def _check_number(session: AsyncSession, locked: OrmLockedPayment, number: str) -> bool:
    """Return True if the payment is already settled with this number.

    :raises Conflict: the number belongs to another payment, or the payment has another number.
    """
    used = await numbers.used_by(session, number)
    if used is not None and used.payment_id != locked.payment.id:
        raise await number_already_used(session, used)
    if used is None:
        await _check_money(session, locked, number)
        await _check_is_no_refund(session, number)
        await _check_is_not_the_platforms(session, number)
    of_qr = await numbers.qr_of(session, number)
    if of_qr not in (None, locked.payment.id):
        participant = await numbers.owner(session, str(of_qr))
        raise Conflict(
            N_(
                "%(number)s is the receipt of another QR: %(name)s, payment %(payment)s",
                number=number,
                name=participant.full_name or N_("a deleted participant"),
                payment=of_qr,
            ),
            next_step=N_(
                "verify that one: procomp-pay verify-kaspi %(payment)s --transaction-id %(number)s",
                payment=of_qr,
                number=number,
            ),
            code=ErrorCode.OPERATION_NUMBER_USED,
        )
    recorded = await numbers.of_payment(session, locked.payment.id)
    if used is not None or (recorded and of_qr == locked.payment.id):
        return True  # its own number, or that of its QR, besides the one that Kaspi reported
    if recorded:
        raise await payment_already_settled(session, recorded[0])
    return False


async def _check_money(session: AsyncSession, locked: OrmLockedPayment, number: str) -> None:
    """Check that no money of another payment was received under this number.

    :raises Conflict: it was, with a different amount that settled nothing.
    """
    payment_id = await numbers.came_under(session, number)
    if payment_id not in (None, locked.payment.id):
        participant = await numbers.owner(session, str(payment_id))
        raise Conflict(
            N_(
                "The money of %(number)s was received for %(name)s, payment %(payment)s",
                number=number,
                name=participant.full_name or N_("a deleted participant"),
                payment=payment_id,
            ),
            next_step=N_("see it: procomp-pay status --payment %(payment)s", payment=payment_id),
            code=ErrorCode.OPERATION_NUMBER_USED,
        )


async def _check_is_no_refund(session: AsyncSession, number: str) -> None:
    """Check that the number is not that of a refund.

    :raises Conflict: it is.
    """
    refund = await refunds.by_provider_id(session, kaspi_refund_id(number))
    if refund is not None:
        raise Conflict(
            N_(
                "%(number)s is the number of a refund of payment %(payment)s, not of a payment",
                number=number,
                payment=refund.payment_id,
            ),
            next_step=N_("see it: procomp-pay status --payment %(payment)s", payment=refund.payment_id),
            code=ErrorCode.OPERATION_NUMBER_USED,
        )


async def _check_is_not_the_platforms(session: AsyncSession, number: str) -> None:
    """Check that the number is not that of a payment which the platform took by itself.

    :raises Conflict: it is.
    """
    payment_id = await numbers.of_platform(session, number)
    if payment_id is not None:
        raise Conflict(
            N_(
                "%(number)s is the number of payment %(payment)s, which the platform took by itself",
                number=number,
                payment=payment_id,
            ),
            next_step=N_("adopt it first: procomp-pay db adopt --dry-run"),
            code=ErrorCode.OPERATION_NUMBER_USED,
        )


async def _is_known(session: AsyncSession, request: VerificationRequest, actor: Actor) -> bool:
    """Return True if the idempotency key was used for this request before.

    :raises Conflict: it was used for another request.
    """
    claim = request.claim(actor)
    return claim is not None and await idempotency.known(session, claim) is not None


async def _verify(
    session: AsyncSession,
    ctx: AppContext,
    request: VerificationRequest,
    number: str,
    actor: Actor,
    kaspi: KaspiResult,
) -> Verified:
    locked = await lock_payment(session, request.payment_id)  # concurrent requests wait here
    await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
    if await _is_known(session, request, actor):
        return _result(locked, request, number, kaspi.answer)
    _check_kind(locked)
    if await _check_number(session, locked, number) and locked.payment.status is PaymentStatus.COMPLETED:
        return _result(locked, request, number, kaspi.answer, already=True)
    claim, named = request.claim(actor), request.money  # of the request as it was sent
    unapplied = await discrepancies.unapplied(session, number, decided=True)
    request = _as_kaspi_told(request, kaspi, unapplied)
    objections = await _find_objections(session, ctx, locked, request, kaspi.answer, unapplied)
    if objections and not request.override:
        raise _refusal(objections[0])
    # what is booked was seen by whoever overrides, and by the second person who approves it
    if (named is None or request.money != named) and any(each.about_amount for each in objections):
        raise Refused(
            N_("A different amount was received for this payment: an override needs the amount"),
            next_step=_named_amount(request.money),
        )
    charged, first = locked.charged, locked.payment.kaspi_transaction_id
    await _check_second_person(
        ctx, session, actor, objections, max(charged.amount, (request.money or charged).amount)
    )
    applied = await apply_event_in(session, ctx, _event(ctx, request, number, actor, locked), locked)
    if applied.status is not PaymentStatus.COMPLETED or applied.outcome is Outcome.STALE:
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s and cannot be verified",
                payment=locked.payment.id,
                status=applied.status,
            )
        )
    for objection in objections:
        detail: dict[str, Any] = {"operation": number, "override": request.reason, "by": actor.name}
        detail |= {"against": objection.sentence} | actor.approval()
        key = None if objection.apart is None else f"{objection.apart}:{number}"
        if objection.about_amount:
            paid = side_effects.as_document(request.money or charged)
            detail |= {"charged": side_effects.as_document(charged), "paid": paid}
            # beside money that came before by another operation: nothing is decided about that
            key = None if first in (None, number) or number == locked.detail.provider_ref else number
        await side_effects.open_discrepancy(
            session, ctx, locked, objection.kind, detail, key, has_alert=False
        )
    if claim is not None:
        await idempotency.remember(session, claim, locked.payment.id, ctx.clock())
    return _result(locked, request, number, kaspi.answer, objections=objections)


def _as_kaspi_told(
    request: VerificationRequest, kaspi: KaspiResult, unapplied: list[Discrepancy]
) -> VerificationRequest:
    """Return the request with Kaspi's own time and amount, not those of a receipt: by its answer, or because
    it told of this operation before.

    :param unapplied: as of money that no payment had.
    """
    if kaspi.at is not None:
        return replace(request, money=kaspi.money, paid_at=kaspi.at)
    told = filter(None, (discrepancies.unapplied_money(row.detail) for row in unapplied))
    return replace(request, money=next(told, None) or request.money or kaspi.money)


def _named_amount(paid: Money | None) -> str:
    """Return how an override names the amount.

    :param paid: what Kaspi told of it, if anything.
    """
    if paid is None:
        return N_("check it in the Kaspi Pay app, and add: --amount PAID")
    if paid.currency is not Currency.KZT:  # what can be named is in tenge
        return "procomp-pay discrepancies list"
    return N_("check it in the Kaspi Pay app; if it is so, add: --amount %(paid)s", paid=paid.amount)


async def _check_second_person(
    ctx: AppContext, session: AsyncSession, actor: Actor, objections: list[Objection], amount: Decimal
) -> None:
    """Check that somebody else approved an override of more than a sum.

    :param amount: in tenge, the larger one of what was charged and what is booked.
    :raises Forbidden: nobody did, or it is an admin of the HTTP API and there are operators.
    """
    if not objections or amount <= ctx.limits.override:
        return
    if ctx.operator is None and await authorize.have_operators(session):
        raise Forbidden(
            N_("This override needs two operators, and is not made over HTTP"),
            next_step="procomp-pay verify-kaspi PAYMENT --transaction-id NUMBER --override --reason REASON "
            "--approve NAME",
        )
    needs_second_person(ctx.operator, actor.approved_by)


async def _find_objections(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    request: VerificationRequest,
    answer: KaspiAnswer,
    unapplied: list[Discrepancy],
) -> list[Objection]:
    paid = locked.payment.status is PaymentStatus.COMPLETED  # reported by Kaspi: only the number is added
    in_doubt = not paid and await numbers.is_amount_in_doubt(session, locked.payment.id)
    window = PaymentWindow(locked.charged, locked.detail.created_at, _ends(ctx, locked))
    decided_by = next(filter(None, map(discrepancies.decided_by, unapplied)), None)
    claim = ReceiptClaim(request.money, request.paid_at, in_doubt, decided_by)
    return find_objections(claim, window, KaspiAnswer.PAID if paid else answer, ctx.clock())


def _ends(ctx: AppContext, locked: OrmLockedPayment) -> datetime:
    """Return the time until which the customer can have paid; a bill can be paid at any time."""
    if locked.detail.provider_ref is None:
        return ctx.clock()
    return kaspi_schedule(locked).final_poll_at


def _refusal(objection: Objection) -> PaymentError:
    kind = Refused if objection.about_amount else Conflict
    return kind(objection.sentence, next_step=objection.do)


def _event(
    ctx: AppContext, request: VerificationRequest, number: str, actor: Actor, locked: OrmLockedPayment
) -> PaymentEvent:
    return PaymentEvent(
        payment_id=locked.payment.id,
        event_type=EventType.SUCCEEDED,
        at=request.paid_at or ctx.clock(),
        source=actor.source,
        actor=actor.name,
        source_id=number,
        request_id=actor.request_id,
        money=request.money,
        amount_accepted=request.override,
        ids=ProviderIds(kaspi_operation=number),
        reason=request.reason,
        approved_by=actor.approved_by,
    )


def _result(
    locked: OrmLockedPayment,
    request: VerificationRequest,
    number: str,
    answer: KaspiAnswer,
    *,
    already: bool = False,
    objections: list[Objection] | None = None,
) -> Verified:
    return Verified(
        payment_id=locked.payment.id,
        status=locked.payment.status,
        number=number,
        money=locked.charged if already else request.money or locked.charged,
        already=already,
        late=locked.detail.is_late,
        duplicate=locked.detail.is_duplicate,
        kaspi=answer,
        overridden=tuple(objection.sentence for objection in objections or ()),
    )


async def _record_refusal(
    ctx: AppContext, request: VerificationRequest, number: str, actor: Actor, error: PaymentError
) -> None:
    """Record a rejected verification in the audit trail: a number tried on many payments is noticed."""
    record = actor.record(audit.VERIFY_REFUSED, source_id=number, note=_without_names(error.message)[:500])
    async with ctx.db.writing() as session:
        await lock_payment(session, request.payment_id)
        await audit.append(session, request.payment_id, record, ctx.clock())


def _without_names(message: str) -> str:
    """Return a refusal without the names of participants: it may be about another payment's, and their name
    has no place in the trail of this one."""
    if not isinstance(message, Text):
        return message
    names = dict.fromkeys({"name", "participant"} & message.values.keys(), "…")
    return N_(message.template, **{**message.values, **names})
