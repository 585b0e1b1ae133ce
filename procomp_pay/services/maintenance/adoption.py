"""Adopt payments that the platform itself wrote, before procomp-pay was installed or since.

The platform's rows are not changed. A payment that is open, or whose refunds its provider knows, is polled
afterwards by the usual background work, and the results go through settlement like any other event. The run
may be killed at any point and started again: a payment is adopted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from procomp_pay.domain.adoption import Adoption, PlatformPayment, assess, is_platforms_own
from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import PAID_STATUSES
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.storage.audit.chain import KEPT_BY_PLATFORM, AuditRecord
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.payments import unadopted
from procomp_pay.storage.payments.unadopted import UnpaidLink
from procomp_pay.storage.registrations import lookup as registrations

#: Payments listed in a report; further ones are only counted.
MOST_NAMED = 50
#: ``source`` of operation numbers and refunds that the platform had recorded.
PLATFORM = "platform"


@dataclass(slots=True)
class Adopted:
    """The result of an adoption.

    :param asked: how many of the adopted payments will be polled next.
    :param kept: payments that are accepted as the platform's own, such as cash: they are not looked at again.
    :param left: payments that need manual review first.
    :param named: the ids of those with the reason, at most :data:`MOST_NAMED`.
    :param links: participants linked to a payment that is not paid, at most :data:`MOST_NAMED`.
    """

    taken: int = 0
    asked: int = 0
    kept: int = 0
    left: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)
    links: list[UnpaidLink] = field(default_factory=list)


async def size(ctx: AppContext) -> int:
    """Return the number of payments of the platform that are not adopted yet."""
    async with ctx.db.reading() as session:
        return await unadopted.count(session)


async def adopt(
    ctx: AppContext,
    actor: Actor,
    *,
    assign: Mapping[str, str] | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Adopted:
    """Adopt every payment that can be adopted without manual review.

    :param assign: the participant of payments, by payment, where the operator knows it.
    :param dry_run: return what would be done, without writing anything.
    :raises NotFound: a payment or participant of ``assign`` does not exist, or the payment is adopted.
    :raises Refused: a participant of ``assign`` is registered for another tournament.
    :raises DatabaseUnavailable: also if another adoption is running; adopted payments are kept; run it again.
    """
    result, assign = Adopted(), assign or {}
    async with ctx.db.reading() as session:
        result.links = await unadopted.unpaid_links(session, MOST_NAMED)
    if assign:
        async with _transaction(ctx, dry_run) as session:
            rows = await unadopted.some(session, assign, lock=not dry_run)
            await _check_assigned(session, rows, assign)
            await _adopt(session, ctx, actor, rows, result, dry_run=dry_run, assign=assign)
    after = ""
    while True:
        async with _transaction(ctx, dry_run) as session:
            page = await unadopted.page(session, after, lock=not dry_run)
            rows = [row for row in page if row[0].id not in assign]
            await _adopt(session, ctx, actor, rows, result, dry_run=dry_run)
        if on_progress is not None:
            on_progress(result.taken + result.kept + result.left)
        if len(page) < unadopted.PAGE:
            return result
        after = page[-1][0].id


def _transaction(ctx: AppContext, dry_run: bool) -> AbstractAsyncContextManager[AsyncSession]:
    return ctx.db.reading() if dry_run else ctx.db.writing()


async def _check_assigned(
    session: AsyncSession, rows: list[tuple[Payment, str | None]], assign: Mapping[str, str]
) -> None:
    missing = sorted(set(assign) - {payment.id for payment, _ in rows})
    if missing:
        raise NotFound(
            f"There is no payment {missing[0][:64]!r} of the platform that waits for adoption",
            next_step="procomp-pay db adopt --dry-run",
        )
    for payment, _ in rows:
        participant = await registrations.participant(session, assign[payment.id])
        if participant.tournament_id != payment.tournament_id:
            raise Refused(
                f"Participant {participant.id} is registered for tournament {participant.tournament_id}, and "
                f"payment {payment.id} is for {payment.tournament_id}",
                next_step="procomp-pay participant list",
            )


async def _adopt(
    session: AsyncSession,
    ctx: AppContext,
    actor: Actor,
    rows: list[tuple[Payment, str | None]],
    result: Adopted,
    *,
    dry_run: bool,
    assign: Mapping[str, str] | None = None,
) -> None:
    """Adopt these payments, and add them to the result.

    :param assign: their participants, in place of those that the payments name.
    """
    unnamed = [payment for payment, settles in rows if not (settles or _named(payment))]
    only = await unadopted.only_registrations(session, {(row.user_id, row.tournament_id) for row in unnamed})
    plain = [
        _plain(payment, settles, only.get((payment.user_id, payment.tournament_id)))
        if assign is None
        else replace(_plain(payment, settles, None), named=assign[payment.id])
        for payment, settles in rows
    ]
    own = {row.id for row in plain if is_platforms_own(row)}
    assessed = [
        (payment, assess(row, ctx.clock()))
        for (payment, _), row in zip(rows, plain, strict=True)
        if row.id not in own
    ]
    takeovers = await _select(session, assessed, result)
    result.taken += len(takeovers)
    result.kept += len(own)
    result.asked += sum(adoption.ask for _, adoption in takeovers)
    if not dry_run:
        await _write(session, ctx, actor, takeovers, [payment for payment, _ in rows if payment.id in own])


async def _select(
    session: AsyncSession, assessed: list[tuple[Payment, Adoption | str]], result: Adopted
) -> list[tuple[Payment, Adoption]]:
    adoptions = [(payment, adoption) for payment, adoption in assessed if isinstance(adoption, Adoption)]
    # a provider's object, or an operation number, belongs to one payment only
    refs = await unadopted.refs_in_use(session, [x.provider_ref for _, x in adoptions if x.provider_ref])
    numbers = await unadopted.numbers_in_use(session, [x.number for _, x in adoptions if x.number])
    takeovers = []
    for payment, plan in assessed:
        reason = plan if isinstance(plan, str) else _used(plan, refs, numbers)
        if reason is not None or isinstance(plan, str):
            result.left += 1
            if len(result.named) < MOST_NAMED:
                result.named.append((payment.id, str(reason)))
            continue
        takeovers.append((payment, plan))
        if plan.provider_ref is not None:
            refs[plan.provider_ref] = payment.id
        if plan.number is not None:
            numbers[plan.number] = payment.id
    return takeovers


def _used(adoption: Adoption, refs: dict[str, str], numbers: dict[str, str]) -> str | None:
    if (other := refs.get(adoption.provider_ref or "")) is not None:
        return f"has the provider's id {adoption.provider_ref}, which payment {other} has too"
    if (other := numbers.get(adoption.number or "")) is not None:
        return f"has Kaspi's operation number {adoption.number}, which payment {other} has too"
    return None


def _named(payment: Payment) -> str | None:
    named = payment.meta.get("participantId") if isinstance(payment.meta, dict) else None
    return named if isinstance(named, str) and named else None


def _plain(payment: Payment, settles: str | None, registered: str | None) -> PlatformPayment:
    return PlatformPayment(
        id=payment.id,
        status=payment.status,
        method=payment.method,
        amount=payment.amount,
        currency=payment.currency,
        created_at=payment.created_at,
        named=_named(payment),
        settles=settles,
        registered=registered,
        payment_intent=payment.stripe_payment_id,
        checkout_session=payment.stripe_session_id,
        kaspi_code=payment.kaspi_qr_code,
        kaspi_number=payment.kaspi_transaction_id,
    )


async def _write(
    session: AsyncSession,
    ctx: AppContext,
    actor: Actor,
    takeovers: list[tuple[Payment, Adoption]],
    kept: list[Payment],
) -> None:
    if not (takeovers or kept):
        return
    now = ctx.clock()
    await unadopted.write(
        session,
        [_detail(ctx, payment, adoption) for payment, adoption in takeovers],
        [_operation(ctx, payment, adoption.number) for payment, adoption in takeovers if adoption.number],
        [_refund(ctx, payment) for payment, adoption in takeovers if adoption.given_back],
        [(payment.id, _audit_record(actor, payment, adoption)) for payment, adoption in takeovers],
        [(payment.id, _kept_record(actor, payment)) for payment in kept],
        now,
    )


def _detail(ctx: AppContext, payment: Payment, adoption: Adoption) -> dict[str, Any]:
    now = ctx.clock()
    paid = payment.status in PAID_STATUSES
    return {
        "payment_id": payment.id,
        "participant_id": adoption.participant_id,
        "channel": adoption.channel,
        "create_state": adoption.create_state,
        "provider_open": adoption.provider_open,
        "provider_ref": adoption.provider_ref,
        "requested_amount": payment.amount,
        "requested_currency": payment.currency,
        "charged_amount": payment.amount,
        "charged_currency": payment.currency,
        "refunded_amount": _refunded(payment, adoption),
        "is_late": False,
        "is_duplicate": False,
        # the platform stores no such time; the last change of the payment is closest to it
        "completed_at": payment.updated_at if paid else None,
        "next_poll_at": now if adoption.ask else None,
        "started_by": PLATFORM,
        "created_at": payment.created_at,
        "updated_at": now,
    }


def _refunded(payment: Payment, adoption: Adoption) -> Decimal:
    return payment.amount if adoption.given_back else Decimal("0.00")


def _operation(ctx: AppContext, payment: Payment, number: str) -> dict[str, Any]:
    return {
        "operation_number": number,
        "payment_id": payment.id,
        "amount": payment.amount,
        "paid_at": payment.updated_at,
        "source": PLATFORM,
        "recorded_by": "the platform",
        "created_at": ctx.clock(),
    }


def _refund(ctx: AppContext, payment: Payment) -> dict[str, Any]:
    return {
        "id": ctx.new_id(),
        "payment_id": payment.id,
        "amount": payment.amount,
        "currency": payment.currency,
        "reason": "refunded by the platform, before procomp-pay took the payment over",
        "state": RefundState.SUCCEEDED,
        "requested_by": PLATFORM,
        # reports count it when it was booked, which was not on the day of the adoption
        "created_at": payment.updated_at,
        "updated_at": payment.updated_at,
    }


def _audit_record(actor: Actor, payment: Payment, adoption: Adoption) -> AuditRecord:
    return actor.record(
        "adopted",
        after={
            "status": payment.status.value,
            "method": payment.method.value if payment.method else None,
            "channel": adoption.channel.value,
            "amount": payment.amount,
            "currency": payment.currency.value,
            "refunded": _refunded(payment, adoption),
            "participant_id": adoption.participant_id,
            "provider_ref": adoption.provider_ref,
        },
    )


def _kept_record(actor: Actor, payment: Payment) -> AuditRecord:
    return actor.record(
        KEPT_BY_PLATFORM,
        after={
            "status": payment.status.value,
            "method": payment.method.value if payment.method else None,
            "amount": payment.amount,
            "currency": payment.currency.value,
        },
    )
