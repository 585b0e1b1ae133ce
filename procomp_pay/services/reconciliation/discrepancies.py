"""Show discrepancies to operators, and resolve them: accept, fix, refund, or write off."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT, ABOUT_MONEY, DiscrepancyKind
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, OutcomeUnknown, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.operators import ApprovalAction, ApprovalRequest, Right, needs_second_person
from procomp_pay.domain.reconciliation.records import Mismatch
from procomp_pay.domain.refunds import HOLDING, RefundState
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.polling import ask_about_dispute
from procomp_pay.services.operators import authorize
from procomp_pay.services.reconciliation.context import ReconciliationContext
from procomp_pay.services.reconciliation.our_records import CoverageWindow
from procomp_pay.services.reconciliation.recheck import FOR_MANUAL_REVIEW, check_payment, is_known_now
from procomp_pay.services.reconciliation.repair import reconciler, repair_by_asking
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.lookup import exists
from procomp_pay.storage.payments.repository import load_payment, lock_payment
from procomp_pay.storage.reconciliation import discrepancies as store
from procomp_pay.storage.reconciliation.discrepancies import Filter

_LONGEST_NOTE = 500
#: The most refunds that are requested one after the other if they fail.
_MOST_REFUNDS = 20


class How(StrEnum):
    """An operator's way to resolve a discrepancy."""

    ACCEPT = "accept"  # it is right as it is
    FIX = "fix"  # the provider is asked, and its answer is applied
    REFUND = "refund"  # the rest of the payment is refunded
    WRITE_OFF = "write-off"  # the money is gone


#: Ways by which money may be given up: a second operator has to approve them.
NEED_TWO = frozenset({How.ACCEPT, How.WRITE_OFF})


@dataclass(frozen=True, slots=True)
class DiscrepancyView:
    """A discrepancy for display."""

    discrepancy_id: str
    kind: str
    state: str
    provider: str | None
    payment_id: str | None
    ref: str
    detail: dict[str, Any]
    run_id: str | None
    opened_at: datetime
    last_seen_at: datetime
    resolution: str | None
    note: str | None
    resolved_by: str | None
    resolved_at: datetime | None
    participant_name: str | None = None
    #: What the payment was charged, if it is ours.
    charged: Money | None = None

    @property
    def money(self) -> tuple[Decimal, str] | None:
        """Return the amount and currency that it is about: what came or went, else what was charged."""
        for name in ("paid", "went_back", "theirs", "ours", "charged"):
            side = self.detail.get(name)
            if isinstance(side, dict) and side.get("amount") is not None and side.get("currency"):
                return Decimal(str(side["amount"])), str(side["currency"])
        return (self.charged.amount, self.charged.currency.value) if self.charged else None

    @property
    def is_open(self) -> bool:
        return self.state == DiscrepancyState.OPEN

    @property
    def is_about_amount(self) -> bool:
        """Return whether it is about money of another amount or currency than the fee."""
        return self.kind in ABOUT_AMOUNT

    def second_operation(self, settled_by: Collection[str | None], *, is_settled: bool) -> str | None:
        """Return the number of the Kaspi operation by which money came beside that which settled the payment;
        ``None`` if it is about that one, or about none.

        :param settled_by: the numbers under which Kaspi lists what settled the payment.
        :param is_settled: else money of another amount is what came first.
        """
        number = canonical(str(self.detail.get("operation") or self.ref))
        may_be_second = self.kind in ABOUT_MONEY and (is_settled or not self.is_about_amount)
        return number if may_be_second and number.isdigit() and number not in settled_by else None

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "id": self.discrepancy_id,
            "kind": self.kind,
            "state": self.state,
            "provider": self.provider,
            "payment_id": self.payment_id,
            "participant_name": self.participant_name,
            "amount": self.money[0] if self.money else None,
            "currency": self.money[1] if self.money else None,
            "ref": self.ref,
            "detail": self.detail,
            "run_id": self.run_id,
            "opened_at": self.opened_at.isoformat(),
            "last_seen_at": self.last_seen_at.isoformat(),
            "resolution": self.resolution,
            "note": self.note,
            "resolved_by": self.resolved_by,
            "resolved_at": self.resolved_at.isoformat() if self.resolved_at else None,
        }


async def many(
    ctx: AppContext, wanted: Filter, *, limit: int = 20, cursor: str | None = None
) -> tuple[list[DiscrepancyView], str | None]:
    """Return a page, newest first.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    async with ctx.db.reading() as session:
        rows, following = await store.page(session, wanted, limit=limit, cursor=cursor)
        return [await view_of(session, row) for row in rows], following


async def one(ctx: AppContext, discrepancy_id: str) -> DiscrepancyView:
    """Return a discrepancy.

    :raises NotFound: no such discrepancy.
    """
    async with ctx.db.reading() as session:
        return await view_of(session, await store.one(session, discrepancy_id))


async def view_of(session: AsyncSession, row: Discrepancy) -> DiscrepancyView:
    """Return a discrepancy for display."""
    payment = await store.payment_of(session, row.payment_id) if row.payment_id else None
    return DiscrepancyView(
        discrepancy_id=row.id,
        kind=row.kind,
        state=row.state.value,
        provider=row.provider or (None if payment is None else payment.provider),
        payment_id=row.payment_id,
        ref=row.fingerprint.split(":", 2)[2],
        detail=row.detail,
        run_id=row.run_id,
        opened_at=row.opened_at,
        last_seen_at=row.last_seen_at,
        resolution=row.resolution,
        note=row.note,
        resolved_by=row.resolved_by,
        resolved_at=row.resolved_at,
        participant_name=payment.full_name if payment else None,
        charged=payment.charged if payment else None,
    )


async def resolve(ctx: AppContext, discrepancy_id: str, how: How, note: str, actor: Actor) -> DiscrepancyView:
    """Resolve a discrepancy, once.

    :raises NotFound: no such discrepancy. :raises Conflict: it is resolved already.
    :raises Refused: no note, or the resolution does not fit its kind. :raises ManualReviewRequired: after a
        fix it is still there.
    :raises PaymentError: what the refund raises; the discrepancy then remains open.
    """
    if not note.strip() or len(note) > _LONGEST_NOTE or not note.isprintable():
        raise Refused(N_("A note is 1 to %(most)s printable characters", most=_LONGEST_NOTE))
    view = await one(ctx, discrepancy_id)
    _check_open(view)
    await _check_allowed(ctx, view, how, actor)
    if how is How.FIX:
        await _fix(ctx, view, actor)
        if not (view := await one(ctx, discrepancy_id)).is_open:
            return view  # what the provider answered has closed it
    elif how is How.REFUND:
        await _give_back(ctx, view, actor)
    await _close(ctx, view, how, note.strip(), actor)
    return await one(ctx, discrepancy_id)


async def _check_allowed(ctx: AppContext, view: DiscrepancyView, how: How, actor: Actor) -> None:
    """Check the operator's role and tournaments; whether somebody else approved that money is given up.

    :raises Forbidden: it is not allowed.
    """
    async with ctx.db.reading() as session:
        await _check_operator(ctx, session, view.payment_id)
    if how in NEED_TWO:
        needs_second_person(ctx.operator, actor.approved_by)


async def _check_operator(ctx: AppContext, session: AsyncSession, payment_id: str | None) -> None:
    """Check that the operator may resolve a discrepancy, of this payment or of none.

    :raises Forbidden: it is not allowed, or not any more.
    """
    tournament_id = None
    if payment_id is not None and ctx.operator is not None and await exists(session, payment_id):
        tournament_id = (await load_payment(session, payment_id)).payment.tournament_id
    await authorize.check(ctx, session, Right.FINANCE, tournament_id)


def approval_request(view: DiscrepancyView, how: How, note: str) -> ApprovalRequest:
    """Return what a second operator approves: this way for this discrepancy as it is now."""
    subject = {"discrepancy": view.discrepancy_id, "kind": view.kind, "how": how.value, "note": note.strip()}
    subject |= {"payment": view.payment_id or view.ref, "what": str(view.detail.get("what") or "")}
    detail = hashlib.sha256(exact_json.dumps(view.detail, canonical=True).encode()).hexdigest()
    return ApprovalRequest(ApprovalAction.WRITE_OFF, subject | {"detail": detail}, {}, Right.FINANCE)


def _check_open(view: DiscrepancyView) -> None:
    if not view.is_open:
        raise Conflict(
            N_("It was resolved by %(name)s: %(how)s", name=view.resolved_by, how=view.resolution),
            next_step=f"procomp-pay discrepancies show {view.discrepancy_id}",
        )


async def _close(ctx: AppContext, view: DiscrepancyView, how: How, note: str, actor: Actor) -> None:
    now, payment_id = ctx.clock(), view.payment_id
    async with ctx.db.writing() as session:
        ours = payment_id if payment_id is not None and await exists(session, payment_id) else None
        if ours is not None:
            # before the discrepancy, as settlement does: in the other order the two would deadlock
            await lock_payment(session, ours)  # the audit chain grows under it
        row = await store.one(session, view.discrepancy_id, lock=True)
        if row.state is not DiscrepancyState.OPEN:
            _check_open(await view_of(session, row))
        await _check_operator(ctx, session, payment_id)  # a provider may have taken long to answer
        if how is not How.REFUND and payment_id is not None:
            await _check_no_refund_under_way(session, row, payment_id)
        store.close(row, how=how.value, note=note, by=actor.name, now=now)
        if ours is not None:
            details = {"discrepancy_id": row.id, "kind": row.kind, "how": how.value} | actor.approval()
            record = actor.record("discrepancy_resolved", after=details, note=note)
            await audit.append(session, ours, record, now)


async def _check_no_refund_under_way(session: AsyncSession, row: Discrepancy, payment_id: str) -> None:
    """Check that no refund is under way because of this discrepancy.

    :raises Conflict: another operator is refunding it.
    """
    for refund_row in await refund_repository.of_payment(session, payment_id):
        if refund_row.state is RefundState.PENDING and refund_row.reason.startswith(_refund_reason(row.id)):
            raise Conflict(
                N_(
                    "%(name)s is giving the money back because of this discrepancy",
                    name=refund_row.requested_by,
                ),
                next_step=N_("see how it ends: procomp-pay status --payment %(payment)s", payment=payment_id),
            )


def _refund_reason(discrepancy_id: str) -> str:
    """Return the beginning of the reason of a refund that resolves a discrepancy."""
    return f"discrepancy {discrepancy_id}:"


async def _give_back(ctx: AppContext, view: DiscrepancyView, actor: Actor) -> None:
    """Refund the rest of the payment, once: after a crash, the idempotency key finds the same refund.

    :raises Refused: it was not refunded. :raises OutcomeUnknown: the outcome is unknown.
    """
    if view.payment_id is None:
        raise Refused(
            N_("The money belongs to no payment of ours, so it cannot be refunded from here"),
            next_step=N_("refund %(ref)s at the provider, then resolve it with --how accept", ref=view.ref),
        )
    if view.ref.startswith("pi_") and not await _is_own(ctx, view):
        raise Refused(
            N_(
                "%(ref)s is a second payment at Stripe: a refund from here would refund the first one",
                ref=view.ref,
            ),
            next_step=N_(
                "refund %(ref)s in Stripe's dashboard, then resolve it with --how accept", ref=view.ref
            ),
        )
    if "settled" in view.detail:
        raise Refused(
            N_(
                "Operation %(number)s was verified for payment %(other)s, too: the money came once",
                number=view.ref,
                other=view.detail["settled"],
            ),
            next_step=N_(
                "find out which of them was paid: %(command)s",
                command=f"procomp-pay status --payment {view.payment_id}",
            ),
        )
    if (second := await _second_operation(ctx, view)) is not None:
        raise Refused(
            N_(
                "%(ref)s is a second operation at Kaspi: a refund from here would refund the first one",
                ref=second,
            ),
            next_step=N_(
                "refund %(ref)s in the Kaspi Pay app, then resolve it with --how accept", ref=second
            ),
        )
    for attempt in range(1, _MOST_REFUNDS + 1):
        again = f":{attempt}" if attempt > 1 else ""
        command = RefundCommand(
            view.payment_id,
            N_("discrepancy %(id)s: %(kind)s", id=view.discrepancy_id, kind=DiscrepancyKind(view.kind)),
            idempotency_key=f"discrepancy:{view.discrepancy_id}{again}",
        )
        done = await refund(ctx, command, actor)
        if done.state is RefundState.PENDING and done.provider_refund_id is None:
            raise OutcomeUnknown(
                N_(
                    "The outcome of refund %(refund)s is not known yet; it is being checked",
                    refund=done.refund_id,
                ),
                next_step=N_(
                    "see how it ends: procomp-pay status --payment %(payment)s", payment=view.payment_id
                ),
            )
        if done.state in HOLDING:
            return
        # an earlier refund that failed: request another one
    raise Refused(
        N_(
            "The provider refused it %(n)s times: %(why)s",
            n=_MOST_REFUNDS,
            why=done.failure_reason or N_("no reason given"),
        ),
        next_step=N_("refund it at the provider, then resolve it with --how accept"),
    )


async def _is_own(ctx: AppContext, view: DiscrepancyView) -> bool:
    async with ctx.db.reading() as session:
        locked = await load_payment(session, str(view.payment_id))
    return locked.payment.stripe_payment_id == view.ref


async def _second_operation(ctx: AppContext, view: DiscrepancyView) -> str | None:
    """Return the number of the operation by which money came, if another one settled the Kaspi payment."""
    async with ctx.db.reading() as session:
        locked = await load_payment(session, str(view.payment_id))
        operations = await numbers.of_payment(session, locked.payment.id)
    if not locked.detail.channel.is_kaspi:
        return None
    is_settled = locked.detail.completed_at is not None
    settled_by = {locked.payment.kaspi_qr_code, locked.detail.provider_ref}
    settled_by |= {operation.operation_number for operation in operations[:1]}
    if (second := view.second_operation(settled_by, is_settled=is_settled)) is not None:
        return second
    # one that was opened by an earlier version has no number: its money is not that of the fee either
    is_of_old = "paid" in view.detail and not {"operation", "override"} & view.detail.keys()
    return view.ref if is_settled and view.is_about_amount and is_of_old else None


async def _fix(ctx: AppContext, view: DiscrepancyView, actor: Actor) -> None:
    context = _context(ctx, view, actor)
    if view.payment_id is None:
        if not await is_known_now(context, view.discrepancy_id):
            raise ManualReviewRequired(
                N_("%(ref)s still belongs to no payment of ours", ref=view.ref),
                next_step=f"procomp-pay discrepancies show {view.discrepancy_id}",
            )
        return
    if "dispute_state" in view.detail:
        await ask_about_dispute(ctx, view.payment_id, view.ref, context.actor)
        if (await one(ctx, view.discrepancy_id)).is_open:
            raise ManualReviewRequired(
                N_("It is still there: %(what)s", what=view.detail["what"]),
                next_step=f"procomp-pay discrepancies show {view.discrepancy_id}",
            )
        return
    check = await check_payment(context, view.payment_id, view.kind)
    for mismatch in check.mismatches if check else []:
        if mismatch.repair is not None:
            await repair_by_asking(ctx, mismatch, context.actor)
    check = await check_payment(context, view.payment_id, view.kind)
    if check is None:
        raise ManualReviewRequired(
            N_("The provider cannot be asked about it: the payment has no object there"),
            next_step=N_(
                "check it yourself, then: procomp-pay discrepancies resolve %(id)s", id=view.discrepancy_id
            ),
        )
    if (still := _still(view, check.mismatches)) is not None:
        raise ManualReviewRequired(
            N_("It is still there: %(what)s", what=still.what),
            next_step=f"procomp-pay discrepancies show {view.discrepancy_id}",
        )
    if not check.can_show(view.kind, view.ref) or FOR_MANUAL_REVIEW & view.detail.keys():
        name = view.provider.title() if view.provider else N_("The provider")
        raise ManualReviewRequired(
            N_(
                "%(name)s does not report what this is about, so its answer cannot confirm that it is gone",
                name=name,
            ),
            next_step=N_(
                "check it in the provider's app or statement, then: "
                'procomp-pay discrepancies resolve %(id)s --how accept --note "..."',
                id=view.discrepancy_id,
            ),
        )


def _still(view: DiscrepancyView, left: list[Mismatch]) -> Mismatch | None:
    return next((mismatch for mismatch in left if mismatch.kind == view.kind), None)


def _context(ctx: AppContext, view: DiscrepancyView, actor: Actor) -> ReconciliationContext:
    now = ctx.clock()
    coverage = CoverageWindow(now, now, by_payment_time=False)
    report = Report(view.provider or "stripe", "api", now, now, dry_run=False)
    return ReconciliationContext(ctx, reconciler(actor), coverage, report)
