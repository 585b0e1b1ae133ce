"""Recheck open discrepancies, and close those that are certainly gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT, DiscrepancyKind
from procomp_pay.domain.errors import NotFound, Refused, RetryLater, Unavailable
from procomp_pay.domain.reconciliation.compare import compare_payment
from procomp_pay.domain.reconciliation.records import LocalRecord, Mismatch, ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.text import N_
from procomp_pay.services.lifecycle.polling import ask_about_dispute
from procomp_pay.services.reconciliation.context import ReconciliationContext, ask_again, stop_asking
from procomp_pay.services.reconciliation.our_records import local_records_by_id
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.reconciliation import discrepancies as store
from procomp_pay.storage.reconciliation.local_records import payments_by_id

log = logging.getLogger(__name__)

_K = DiscrepancyKind
#: Kinds that depend only on our own books.
_OF_OUR_BOOKS = frozenset({_K.PARTICIPANT_MISMATCH, _K.LATE_PAYMENT, _K.DUPLICATE_PAYMENT})
#: Details that no provider knows: an operator's override, and a second operation number of one payment
#: (``recorded`` is the first one) or of two payments (``settled`` is the other). A QR's status contains only
#: its own number.
FOR_MANUAL_REVIEW = frozenset({"override", "recorded", "settled"})


async def recheck_open_discrepancies(context: ReconciliationContext) -> None:
    """Recheck what was open before and was not found again; close it if it is gone and the provider
    confirms it.

    :raises DatabaseUnavailable, ConfigurationError: the recheck cannot continue.
    """
    ctx, report = context.ctx, context.report
    started_at = context.coverage.read_at or ctx.clock()
    after = ""
    while True:
        async with ctx.db.reading() as session:
            rows = await store.open_ones(session, report.provider, unseen_since=started_at, after=after)
        if not rows:
            return
        for row in rows:
            try:
                if row.payment_id is not None and "dispute_state" in row.detail:
                    await _ask_about_dispute(context, row.payment_id, row.fingerprint)
                    continue
                is_gone = not FOR_MANUAL_REVIEW & row.detail.keys() and await _is_gone(context, row)
            except Unavailable as error:
                stop_asking(report, error)
                return
            if is_gone:
                await _close(context, row.id)
        after = rows[-1].id


async def _ask_about_dispute(context: ReconciliationContext, payment_id: str, fingerprint: str) -> None:
    """Apply the present state of a dispute beside the one of the payment's row: its end closes the row."""
    try:
        await ask_about_dispute(context.ctx, payment_id, fingerprint.split(":", 2)[2], context.actor)
    except (NotFound, Refused, RetryLater) as error:  # another account's, or gone
        log.warning("nothing is known about %s: %s", fingerprint, error.message)


async def _close(context: ReconciliationContext, row_id: str) -> None:
    ctx = context.ctx
    async with ctx.db.writing() as session:
        row = await store.one(session, row_id, lock=True)
        if row.state.value == "open":
            note = N_("Not found any more: both sides agree now.")
            store.close(row, how=store.GONE, note=note, by=context.actor.name, now=ctx.clock())
            context.report.closed += 1


async def _is_gone(context: ReconciliationContext, row: Discrepancy) -> bool:
    """Return whether a difference is certainly gone; in doubt, False."""
    if row.payment_id is None:
        return await is_known_now(context, row.id)
    check = await check_payment(context, row.payment_id, row.kind)
    if check is None or row.fingerprint in {mismatch.fingerprint for mismatch in check.mismatches}:
        return False
    return check.can_show(row.kind, row.fingerprint.split(":", 2)[2])


@dataclass(frozen=True, slots=True)
class PaymentCheck:
    """The present differences of one payment, found by asking its provider.

    :param records: the provider's answer; ``None`` if it could not be asked, and only our books were checked.
    """

    mismatches: list[Mismatch]
    ours: LocalRecord
    records: list[ProviderRecord] | None

    def can_show(self, kind: str, reference: str) -> bool:
        """Return whether the answer could have shown a difference.

        It could not if the difference is a second object's, or about what the provider does not report, such
        as refunds under Kaspi's scheme basic.
        """
        ours, records = self.ours, self.records or []
        own_references = (ours.ref, "payment")
        if kind == _K.REFUND_MISMATCH:
            is_pending = any(refund.state is RefundState.PENDING for refund in ours.refunds)
            return not is_pending and not any(record.hides_refunds for record in records)
        if kind in ABOUT_AMOUNT:
            is_told = any(r.kind is LineKind.PAYMENT and r.amount is not None for r in records)
            return reference in own_references and is_told
        if kind == _K.DUPLICATE_PAYMENT:
            return reference in own_references
        if kind == _K.STATUS_MISMATCH:
            return reference in (*own_references, ours.dispute[0] if ours.dispute else None)
        return True


async def check_payment(context: ReconciliationContext, payment_id: str, kind: str) -> PaymentCheck | None:
    """Check one payment by asking its provider; ``None`` if that is impossible: for a kind that only the
    provider could show, if it cannot be asked (a bill has no object at Kaspi).

    :raises Unavailable, ConfigurationError: the provider does not answer.
    """
    ctx = context.ctx
    coverage = replace(context.coverage, read_at=None)
    async with ctx.db.reading() as session:
        payment = (await payments_by_id(session, [payment_id])).get(payment_id)
        ours = (await local_records_by_id(session, [payment_id], coverage, ctx.clock())).get(payment_id)
    if payment is None or ours is None:
        return None
    records = await ask_again(context, payment)
    if records is None and kind not in _OF_OUR_BOOKS:
        return None
    if records is not None:
        ours = replace(ours, expected=True)
    return PaymentCheck(list(compare_payment(ours, records or [])), ours, records)


async def is_known_now(context: ReconciliationContext, row_id: str) -> bool:
    """Return whether one of our payments has by now the provider's id that a discrepancy of none is about, or
    was settled by its operation."""
    from procomp_pay.domain.events import ProviderIds
    from procomp_pay.storage.payments.lookup import find_id

    async with context.ctx.db.reading() as session:
        row = await store.one(session, row_id)
        ref = row.fingerprint.split(":", 2)[2]
        known = await find_id(session, ProviderIds(payment_intent=ref, kaspi_payment=ref))
        return known is not None or await store.is_explained(session, row.detail)
