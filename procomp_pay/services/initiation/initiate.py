"""Start a payment, or return the open one (SPEC 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from procomp_pay.domain import payment_code
from procomp_pay.domain.entry_fees import FeeSchedule, charge_for
from procomp_pay.domain.errors import (
    AlreadyPaid,
    ConfigurationError,
    Conflict,
    ErrorCode,
    ManualReviewRequired,
    NotFound,
    Refused,
    RetryLater,
    Unavailable,
)
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency
from procomp_pay.domain.operators import Right
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.providers.protocol import CreateRequest
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.open_payment_policy import (
    Step,
    for_open_payment,
    for_replayed_key,
    is_on_the_phone,
    seconds_to_wait,
)
from procomp_pay.services.initiation.request import InitiateRequest, Registration, prepare
from procomp_pay.services.lifecycle.cancel import clear_for_new_payment
from procomp_pay.services.lifecycle.create_at_provider import (
    mark_sent,
    open_at_provider,
    phone_of,
)
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.checks import check_not_archived
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.initiation import before_start, new_payment
from procomp_pay.storage.initiation.before_start import BeforeStart
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.payments import idempotency, lookup
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.batch import PaymentWithSecrets
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations.terms import fee_schedule

log = logging.getLogger(__name__)

#: Seconds to wait for another process that is creating the same payment at this moment.
_PATIENCE_S = 8.0
_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class InitiatedPayment:
    """:param reused: the payment was already open.

    :param rows: as they were when it was opened, with sealed secrets.
    """

    payment_id: str
    reused: bool
    rows: PaymentWithSecrets = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next step, taken outside the transaction.

    :param rows: of a payment that was started before.
    :param wait_s: seconds until a request of another process counts as lost.
    """

    step: Step
    payment_id: str
    rows: OrmLockedPayment | None = None
    send: CreateRequest | None = None
    wait_s: int = 1


def _is_allowed(_owner_id: str | None) -> None:
    """Allow everybody: an operator may start the payment of any participant."""


async def initiate(
    ctx: AppContext,
    request: InitiateRequest,
    actor: Actor,
    check_owner: Callable[[str | None], None] = _is_allowed,
) -> InitiatedPayment:
    """Start a payment for a participant, or return the open one.

    :param check_owner: called with the platform user who registered the participant, before anything else is
        decided, in each transaction; raises if the caller may not act for them.
    :raises NotFound: no such participant. :raises AlreadyPaid: the fee is already paid.
    :raises Refused: the amount, the currency or the method does not fit the tournament's fees.
    :raises Conflict: the idempotency key was used for another request, or another payment is in progress.
    :raises ManualReviewRequired: a different amount was received before and awaits a decision.
    :raises ProviderUnavailable, OutcomeUnknown: the payment stays PENDING and is recovered later; a Kaspi QR
        whose answer was lost is given up.
    :raises RetryLater: another process is opening this payment.
    :raises ConfigurationError: the provider is not configured; nothing was written.
    """
    try:
        ctx.providers.of(request.channel)  # before a transaction: it may take long to be made
    except ConfigurationError:
        async with ctx.db.reading() as session:
            participant = await registrations.participant(session, request.participant_id)
        check_owner(participant.user_id)
        raise
    handled: set[str] = set()  # open payments that were cancelled or polled: each only once
    waited = 0.0
    while True:
        plan = await _plan(ctx, request, actor, check_owner, handled)
        if plan.step is Step.WAIT and waited < _PATIENCE_S:
            await asyncio.sleep(_PAUSE_S)
            waited += _PAUSE_S
        elif plan.step in (Step.CANCEL, Step.REFRESH):
            handled.add(plan.payment_id)
            await _clear_open_payment(ctx, plan, actor)
        elif plan.step is Step.WAIT:
            raise _being_opened(plan)
        else:
            return await _create_at_provider(ctx, plan, actor)


async def _create_at_provider(ctx: AppContext, plan: _Plan, actor: Actor) -> InitiatedPayment:
    rows: PaymentWithSecrets | None = plan.rows
    if plan.send is not None:
        rows = await open_at_provider(ctx, plan.send, actor)
        status = rows.payment.status
        if status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED):
            raise Conflict(
                N_("Payment %(payment)s was %(status)s meanwhile", payment=plan.payment_id, status=status),
                next_step=N_("repeat the command to start a new one"),
                code=ErrorCode.PAYMENT_ENDED,
            )
    if rows is None:
        raise AssertionError(f"payment {plan.payment_id} is new and was not sent")
    return InitiatedPayment(plan.payment_id, plan.rows is not None, rows)


async def _clear_open_payment(ctx: AppContext, plan: _Plan, actor: Actor) -> None:
    """Cancel or poll an open payment.

    An unavailable provider does not block the new payment: the cancellation is recorded and done later.
    """
    try:
        if plan.step is Step.CANCEL:
            await clear_for_new_payment(ctx, plan.payment_id, actor)
        else:
            await poll_payment(ctx, plan.payment_id, actor)
    except Conflict:
        raise
    except (Unavailable, NotFound, Refused) as error:
        log.warning("payment %s is left unchanged for now: %s", plan.payment_id, error.message)


async def _plan(
    ctx: AppContext,
    request: InitiateRequest,
    actor: Actor,
    check_owner: Callable[[str | None], None],
    handled: set[str],
) -> _Plan:
    async with ctx.db.writing() as session:
        # the lock serialises all starts of payments for this participant
        participant = await registrations.participant(session, request.participant_id, lock=True)
        check_owner(participant.user_id)
        await authorize.check(ctx, session, Right.DESK, participant.tournament_id)
        claim, payment_id = request.claim(actor), ctx.new_id()
        code = next(payment_code.candidates(payment_id))
        before = await before_start.read(session, participant, claim, code)
        known = await idempotency.known(session, claim) if claim and before.knows_key else None
        if known is not None and known.payment_id is not None:
            locked = await payments.load_payment(session, known.payment_id)
            step = for_replayed_key(locked, ctx.clock())
            if step is not Step.REUSE:
                await _check_participant(session, participant, before)
            return _planned(locked, step, ctx)
        registration = await _registration(session, ctx, participant, request, before)
        plan = None
        if before.has_open_payments:
            plan = await _check_open_payments(session, ctx, request, registration, handled)
        if plan is not None:
            if claim is not None and plan.step in (Step.REUSE, Step.SEND):
                await idempotency.remember(session, claim, plan.payment_id, ctx.clock())
            return plan
        if before.knows_code:
            code = await lookup.free_code(session, payment_id)
        new = prepare(ctx, request, actor, registration, payment_id, code)
        send = mark_sent(new, ctx)
        await new_payment.write(session, new, claim)
        return _Plan(Step.SEND, payment_id, send=send)


async def _check_open_payments(
    session: AsyncSession,
    ctx: AppContext,
    request: InitiateRequest,
    registration: Registration,
    handled: set[str],
) -> _Plan | None:
    """Return the step for the first open payment that needs one; ``None`` if a new payment can start."""
    for payment_id in await lookup.open_ids(session, registration.participant.id):
        locked = await payments.load_payment(session, payment_id)
        step = for_open_payment(locked, request, registration, ctx.clock(), phone=phone_of(locked, ctx))
        if step in (Step.CANCEL, Step.REFRESH) and payment_id in handled:
            if locked.payment.status is PaymentStatus.PROCESSING:
                raise _in_progress(request)
            if is_on_the_phone(locked) and request.channel is Channel.KASPI_REMOTE:
                raise Conflict(
                    N_(
                        "Invoice %(payment)s is still open on the customer's phone; "
                        "a second one was not sent",
                        payment=payment_id,
                    ),
                    next_step=N_(
                        "ask the customer to reject it in the Kaspi app, or charge the fee with a QR"
                    ),
                    code=ErrorCode.PAYMENT_IN_PROGRESS,
                )
            continue
        if step is not None:
            return _planned(locked, step, ctx)
    return None


def _planned(locked: OrmLockedPayment, step: Step, ctx: AppContext) -> _Plan:
    return _Plan(
        step,
        locked.payment.id,
        locked,
        send=mark_sent(locked, ctx) if step is Step.SEND else None,
        wait_s=seconds_to_wait(locked, ctx.clock()),
    )


async def _check_participant(session: AsyncSession, participant: Participant, before: BeforeStart) -> None:
    """Check that a payment may be started for this registration.

    :raises AlreadyPaid, Conflict, ManualReviewRequired: it may not.
    """
    if await registrations.has_paid(session, participant):
        raise AlreadyPaid(
            N_("%(name)s has paid already", name=participant.full_name),
            next_step=f"procomp-pay status {participant.id}",
        )
    if participant.status is ParticipantStatus.CANCELLED:
        raise Conflict(
            N_("The registration of %(name)s is cancelled", name=participant.full_name),
            code=ErrorCode.REGISTRATION_CANCELLED,
        )
    if isinstance(participant.status, UnknownLabel):
        raise Conflict(
            N_(
                "The registration of %(name)s is %(status)s, which only the platform knows",
                name=participant.full_name,
                status=participant.status,
            ),
            next_step=N_(
                "set it to %(status)s in the platform before the fee is charged",
                status=ParticipantStatus.REGISTERED,
            ),
            code=ErrorCode.REGISTRATION_STATUS_UNKNOWN,
        )
    if before.awaits_decision is not None:
        raise ManualReviewRequired(
            N_(
                "A different amount was received for %(name)s: it awaits a decision",
                name=participant.full_name,
            ),
            next_step=f"procomp-pay status --payment {before.awaits_decision}",
        )


async def _registration(
    session: AsyncSession,
    ctx: AppContext,
    participant: Participant,
    request: InitiateRequest,
    before: BeforeStart,
) -> Registration:
    await _check_participant(session, participant, before)
    tournament = before.tournament
    if before.is_archived:
        await check_not_archived(session, tournament.id, tournament.name)
    schedule = FeeSchedule(before.fees)
    if before.has_fee_periods:
        schedule = await fee_schedule(session, tournament)
    fees = schedule.at(ctx.clock())
    charge = charge_for(fees, request.method, request.requested)
    if before.has_unknown_money and not request.is_not_theirs:
        await _check_unknown_money(session, participant, schedule)
    return Registration(participant, tournament, charge, schedule)


async def _check_unknown_money(
    session: AsyncSession, participant: Participant, schedule: FeeSchedule
) -> None:
    """Check that no money which books from a backup do not know the owner of can be this participant's.

    :raises ManualReviewRequired: there is some, of the same amount.
    """
    fees = schedule.ever(Currency.KZT)
    number = await discrepancies.unknown_money_after_restore(session, fees)
    if number is not None:
        raise ManualReviewRequired(
            N_(
                "%(name)s may have paid already: our books come from a backup, and not all payments made "
                "since are known",
                name=participant.full_name,
            ),
            # not in the message, which the app shows: the operation may be another person's
            next_step=N_(
                "ask for the receipt: Kaspi took %(fee)s from somebody (operation %(number)s). Start the "
                "payment with --not-theirs, and if the receipt shows this number: verify-kaspi --override",
                fee=" / ".join(str(fee) for fee in fees),
                number=number,
            ),
        )


def _being_opened(plan: _Plan) -> RetryLater:
    return RetryLater(
        N_("Payment %(payment)s of this participant is being opened at this moment", payment=plan.payment_id),
        next_step=N_("try again in %(n)s s", n=plan.wait_s),
        retry_after=plan.wait_s,
    )


def _in_progress(request: InitiateRequest) -> Conflict:
    return Conflict(
        N_("Another payment of this participant is in progress"),
        next_step=N_("see it: procomp-pay status %(participant)s", participant=request.participant_id),
        code=ErrorCode.PAYMENT_IN_PROGRESS,
    )
