"""Move a payment that was taken for the wrong participant to the one whose fee it is."""

from __future__ import annotations

import logging

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Conflict, ErrorCode, Refused
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.names import payment_description
from procomp_pay.domain.operators import Right
from procomp_pay.domain.refunds import RefundState, total_refunded
from procomp_pay.domain.states import OPEN_STATUSES, ParticipantStatus, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_replacement_payment
from procomp_pay.storage.audit.chain import PAYMENT_MOVED
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.payments import idempotency, lookup
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations.terms import fee_schedule

_log = logging.getLogger(__name__)
_LONGEST_REASON = 500


async def move_payment(
    ctx: AppContext, payment_id: str, participant_id: str, actor: Actor, *, reason: str, former_id: str
) -> bool:
    """Move a completed payment to another participant of its tournament, who has not paid. Return whether the
    former one owes the fee now.

    They do unless another payment of theirs settles it, or the registration is cancelled or gone. The
    provider's object is not touched: it names our payment, which stays the same.

    :param former_id: the participant whose payment it was when the operator decided.
    :raises NotFound: no such payment or participant. :raises Refused: no reason, or another tournament.
    :raises Conflict: it is no longer that participant's, it is not completed and whole, something about it
        is undecided, or the other participant has paid, has a payment that is open, or cannot be charged.
    """
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(N_("A move needs a reason of 1 to %(most)s printable characters", most=_LONGEST_REASON))
    async with ctx.db.writing() as session:
        locked = await payments.lock_for_move(session, payment_id, participant_id)
        target = await registrations.participant(session, participant_id)
        await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id, target.tournament_id)
        _check_former(locked, former_id, target)
        await _check_payment(session, locked)
        await _check_target(session, locked, target)
        await _move(session, ctx, locked, target, actor, reason.strip())
        former = locked.participant
        is_due = (
            former is not None
            and former.status is ParticipantStatus.REGISTERED
            and not await registrations.has_paid(session, former)
        )
    _log.info("payment %s moved from %s to %s by %s", payment_id, former_id, participant_id, actor.name)
    return is_due


def _check_former(locked: OrmLockedPayment, former_id: str, target: Participant) -> None:
    payment, former = locked.payment, locked.participant
    if locked.detail.participant_id == target.id:
        raise Conflict(
            N_(
                "Payment %(payment)s belongs to %(name)s already: %(target)s",
                payment=payment.id,
                name=target.full_name,
                target=target.id,
            )
        )
    if locked.detail.participant_id != former_id:
        raise Conflict(
            N_(
                "Payment %(payment)s was moved meanwhile: it belongs to %(participant)s now",
                payment=payment.id,
                participant=locked.detail.participant_id,
            ),
            next_step=N_("check it: procomp-pay status --payment %(payment)s", payment=payment.id),
        )
    if former is not None and former.payment_id == payment.id and isinstance(former.status, UnknownLabel):
        raise Conflict(
            N_(
                "The platform marks %(name)s (%(former)s) as %(status)s, which rests on this payment",
                name=former.full_name,
                former=former.id,
                status=former.status,
            ),
            next_step=N_("change it in the platform first"),
        )


async def _check_payment(session: AsyncSession, locked: OrmLockedPayment) -> None:
    """Check that the money is here, whole, and undisputed.

    :raises Conflict: it is not.
    """
    payment, detail = locked.payment, locked.detail
    if payment.status is not PaymentStatus.COMPLETED:
        may_be_paid = payment.status in OPEN_STATUSES or payment.status is PaymentStatus.FAILED
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s: only a completed payment can be moved",
                payment=payment.id,
                status=payment.status,
            ),
            next_step=N_(
                "cancel it, and start one for the other participant: procomp-pay cancel %(payment)s",
                payment=payment.id,
            )
            if may_be_paid
            else f"procomp-pay status --payment {payment.id}",
            code=ErrorCode.PAYMENT_NOT_COMPLETED,
        )
    look = f"procomp-pay status --payment {payment.id} --refresh"
    if detail.provider_open:
        raise Conflict(
            N_("The provider has not confirmed payment %(payment)s yet", payment=payment.id), next_step=look
        )
    rows = await refund_repository.of_payment(session, payment.id)
    if any(row.state is RefundState.PENDING for row in rows):
        raise Conflict(
            N_("A refund of payment %(payment)s is in progress", payment=payment.id),
            next_step=N_("wait until it is final: %(command)s", command=look),
            code=ErrorCode.REFUND_IN_PROGRESS,
        )
    if total_refunded(refund_repository.amounts(rows)):
        raise Conflict(
            N_("A part of payment %(payment)s was refunded: it no longer covers a fee", payment=payment.id),
            next_step=N_('refund the rest: procomp-pay refund %(payment)s --reason "…"', payment=payment.id),
        )
    dispute = await discrepancies.holding_dispute(session, detail)
    if dispute is not None:
        raise Conflict(
            N_(
                "A dispute over payment %(payment)s is %(dispute)s: its money may go back",
                payment=payment.id,
                dispute=dispute,
            ),
            next_step=N_("answer the dispute at Stripe first") if dispute.is_open else None,
            code=ErrorCode.PAYMENT_DISPUTED,
        )
    wanted = discrepancies.Filter(state=DiscrepancyState.OPEN, payment_id=payment.id)
    undecided, _ = await discrepancies.page(session, wanted, limit=1)
    if undecided:
        raise Conflict(
            N_(
                "A discrepancy about payment %(payment)s is open: %(kind)s",
                payment=payment.id,
                kind=DiscrepancyKind(undecided[0].kind),
            ),
            next_step=N_("decide it first: procomp-pay discrepancies show %(id)s", id=undecided[0].id),
        )


async def _check_target(session: AsyncSession, locked: OrmLockedPayment, target: Participant) -> None:
    """Check that the other participant owes what was paid.

    :raises Refused: another tournament, or another fee. :raises Conflict: nothing is due, or money may come.
    """
    payment = locked.payment
    if target.tournament_id != payment.tournament_id:
        raise Refused(
            N_(
                "%(name)s (%(target)s) is registered for another tournament than the one paid for",
                name=target.full_name,
                target=target.id,
            ),
            next_step=N_('refund it: procomp-pay refund %(payment)s --reason "…"', payment=payment.id),
        )
    if await registrations.has_paid(session, target):
        raise Conflict(
            N_("%(name)s (%(target)s) has paid already", name=target.full_name, target=target.id),
            next_step=f"procomp-pay status {target.id}",
            code=ErrorCode.ALREADY_PAID,
        )
    if target.status is not ParticipantStatus.REGISTERED:
        raise Conflict(
            N_(
                "The registration of %(name)s (%(target)s) is %(status)s",
                name=target.full_name,
                target=target.id,
                status=target.status,
            )
        )
    other = await payments.open_or_paid(session, target.id)
    if other is not None:
        raise Conflict(
            N_(
                "%(name)s has a payment of their own, through which money came or can come: %(other)s",
                name=target.full_name,
                other=other,
            ),
            next_step=N_(
                "see it: procomp-pay status --payment %(other)s; end it: procomp-pay cancel %(other)s",
                other=other,
            ),
            code=ErrorCode.PAYMENT_IN_PROGRESS,
        )
    undecided = await discrepancies.payment_awaiting_decision(session, target.id, tuple(PaymentStatus))
    if undecided is not None:
        raise Conflict(
            N_("A different amount was received for %(name)s: it awaits a decision", name=target.full_name),
            next_step=f"procomp-pay status --payment {undecided}",
        )
    tournament = await registrations.tournament(session, target.tournament_id)
    # the price that held when the payment was started: it was paid in time
    fees = (await fee_schedule(session, tournament)).at(payment.created_at)
    fee = fees.in_currency(locked.charged.currency)
    if fee != locked.charged:
        raise Refused(
            N_(
                "Payment %(payment)s is of %(charged)s, and the fee is now %(fee)s",
                payment=payment.id,
                charged=locked.charged,
                fee=fee or N_("in another currency"),
            ),
            next_step=N_(
                'refund it and start a new one: procomp-pay refund %(payment)s --reason "…"',
                payment=payment.id,
            ),
        )


async def _move(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    target: Participant,
    actor: Actor,
    reason: str,
) -> None:
    payment, detail, former, now = locked.payment, locked.detail, locked.participant, ctx.clock()
    event = PaymentEvent(
        payment_id=payment.id,
        event_type=EventType.UNPLACED,
        at=now,
        source=actor.source,
        actor=actor.name,
        request_id=actor.request_id,
        reason=reason,
    )
    was_settled_by_it = locked.settled_by == payment.id
    before = side_effects.audit_snapshot(locked) | {"participant_id": detail.participant_id}
    before["code"] = detail.short_code
    side_effects.release_participant(locked, now)
    await session.flush()  # a payment settles one registration: the former one must let go first
    detail.participant_id = target.id
    # whoever has the former code, and so the link of the page, must neither see the other participant nor pay
    # a bill for them; from a new id, so that no former code comes back at the next move
    detail.short_code = await lookup.free_code(session, ctx.new_id())
    meta = payment.meta if isinstance(payment.meta, dict) else {}
    changes = {"participantId": target.id}
    if "description" in meta:  # nothing is created with it any more: the payment is completed
        tournament = await registrations.tournament(session, target.tournament_id)
        changes["description"] = payment_description(tournament.name, target.full_name)
    payment.meta = meta | changes
    payment.user_id = target.user_id
    payment.updated_at = detail.updated_at = now
    moved = OrmLockedPayment(payment, detail, target)
    side_effects.mark_participant_paid(moved, now)
    after = side_effects.audit_snapshot(moved) | {
        "participant_id": target.id,
        "code": detail.short_code,
        "former_participant_status": former.status.value if former else None,
    }
    await side_effects.append_audit_entry(session, moved, event, PAYMENT_MOVED, before, now, after=after)
    # a repeated request of the former participant must not be answered with another one's payment
    await idempotency.forget_starts(session, payment.id)
    await side_effects.enqueue_message(
        session, ctx, moved, Topic.PAYMENT_RECEIVED, moved.charged, once=f"{target.id}:{now.isoformat()}"
    )
    if was_settled_by_it:
        await session.flush()
        await apply_replacement_payment(session, ctx, locked, event)
