"""Compare candidates a page at a time, and repair what can be repaired automatically."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import groupby

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import ConfigurationError, PaymentError, RetryLater, Unavailable
from procomp_pay.domain.reconciliation.compare import compare_payment, match
from procomp_pay.domain.reconciliation.records import LocalRecord, Mismatch, ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.services.reconciliation.context import (
    PageResult,
    ReconciliationContext,
    ask_again,
    stop_asking,
)
from procomp_pay.services.reconciliation.our_records import local_records_by_id
from procomp_pay.storage.reconciliation.local_records import payments_by_id
from procomp_pay.storage.reconciliation.staging_rows import Candidate

log = logging.getLogger(__name__)

_K = DiscrepancyKind
#: Kinds found by comparing with data read a while ago: the provider is asked again before they are reported.
_TO_CONFIRM = frozenset({_K.STATUS_MISMATCH, _K.MISSING_AT_PROVIDER, _K.AMOUNT_MISMATCH, _K.REFUND_MISMATCH})


async def compare_page(
    context: ReconciliationContext, candidates: list[Candidate], theirs: list[ProviderRecord]
) -> PageResult:
    """Compare the payments of one page; both lists are in order of their keys.

    :raises Unavailable, ConfigurationError: the provider or the database does not answer; finished repairs
        are kept.
    """
    ctx, report = context.ctx, context.report
    ids = [candidate.payment_id for candidate in candidates if candidate.payment_id is not None]
    async with ctx.db.reading() as session:
        ours = await local_records_by_id(session, ids, context.coverage, ctx.clock())
    report.changed_since_read += sum(record.changed_since_read for record in ours.values())
    # payments that are not ours belong to the platform alone
    untracked = {
        candidate.key
        for candidate in candidates
        if candidate.payment_id is not None and candidate.payment_id not in ours
    }
    tracked = [record for record in theirs if record.key not in untracked]
    groups = {key: list(group) for key, group in groupby(tracked, key=lambda record: record.key)}
    ordered = [ours[payment_id] for payment_id in sorted(ours)]
    mismatches = match(ordered, (record for group in groups.values() for record in group))
    result = PageResult()
    for key, of_payment in groupby(mismatches, key=_key):
        await _process_payment(context, list(of_payment), groups.get(key, []), result)
    return result


def _key(mismatch: Mismatch) -> str:
    side = mismatch.ours or mismatch.theirs
    return side.key if side else ""


async def _process_payment(
    context: ReconciliationContext,
    mismatches: list[Mismatch],
    group: list[ProviderRecord],
    result: PageResult,
) -> None:
    ours, report = mismatches[0].ours, context.report
    if ours is None:
        result.left += [
            mismatch
            for mismatch in mismatches
            if mismatch.theirs and report.since <= mismatch.theirs.at < report.until
        ]
        return
    if report.dry_run:
        result.left += await _confirmed(context, ours, mismatches, group)
        return
    for mismatch in mismatches:
        if mismatch.repair is not None and not report.provider_unavailable:
            await _repair(context, mismatch)
    left = await _after_repairs(context, ours, mismatches, group)
    fingerprints = {mismatch.fingerprint for mismatch in left}
    result.left += left
    result.repaired += [
        mismatch
        for mismatch in mismatches
        if mismatch.repair is not None and mismatch.fingerprint not in fingerprints
    ]


async def _repair(context: ReconciliationContext, mismatch: Mismatch) -> None:
    if context.pace is not None:
        await context.pace()
    try:
        await context.repair(context.ctx, mismatch, context.actor)
    except RetryLater:
        return  # an event that does not fit yet remains a difference
    except Unavailable as error:
        stop_asking(context.report, error)
    except ConfigurationError:
        raise
    except PaymentError as error:
        log.info("payment %s is left for manual review: %s", mismatch.reference, error.message)


async def _after_repairs(
    context: ReconciliationContext, ours: LocalRecord, mismatches: list[Mismatch], group: list[ProviderRecord]
) -> list[Mismatch]:
    """Return the differences that are left after repairs, with the provider asked again where it can be."""
    if not context.asks and not any(mismatch.repair for mismatch in mismatches):
        return mismatches
    return await _confirmed(context, ours, mismatches, group)


async def _confirmed(
    context: ReconciliationContext, ours: LocalRecord, old: list[Mismatch], group: list[ProviderRecord]
) -> list[Mismatch]:
    async with context.ctx.db.reading() as session:
        locked = (await payments_by_id(session, [ours.payment_id])).get(ours.payment_id)
        coverage = replace(context.coverage, read_at=None)
        present = await local_records_by_id(session, [ours.payment_id], coverage, context.ctx.clock())
    if locked is None:
        return old
    local = present[ours.payment_id]
    if not context.asks or not any(mismatch.kind in _TO_CONFIRM or mismatch.repair for mismatch in old):
        return list(compare_payment(local, group))
    try:
        records = await ask_again(context, locked)
    except Unavailable as error:
        stop_asking(context.report, error)
    if context.report.provider_unavailable:  # what cannot be confirmed is not reported
        mismatches = compare_payment(local, group)
        return [mismatch for mismatch in mismatches if mismatch.kind not in _TO_CONFIRM]
    if records is not None:
        local = replace(local, expected=True)
        group = _with_present(ours, group, records)
    return list(compare_payment(local, group))


def _with_present(
    ours: LocalRecord, group: list[ProviderRecord], present: list[ProviderRecord]
) -> list[ProviderRecord]:
    """Replace the records of a payment by the provider's present ones."""
    refs = {record.ref for record in present} | {ours.ref}
    kept = [
        record
        for record in group
        if (record.ref not in refs and record.reference not in refs) or record.kind is LineKind.DISPUTE
    ]
    if any(record.kind is LineKind.REFUND for record in present):
        kept = [record for record in kept if record.kind is not LineKind.REFUND]
    return present + kept
