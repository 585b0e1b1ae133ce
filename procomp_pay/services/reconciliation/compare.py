"""Compare candidates a page at a time, and repair what can be repaired automatically."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import groupby

from procomp_pay.domain.errors import ConfigurationError, PaymentError, RetryLater, Unavailable
from procomp_pay.domain.reconciliation.compare import compare_payment, match
from procomp_pay.domain.reconciliation.records import LocalRecord, Mismatch, ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.transitions import DiscrepancyKind
from procomp_pay.services.reconciliation.context import PageResult, ReconciliationContext, asked, stop_asking
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

    :raises Unavailable, ConfigurationError: the provider or the database does not answer; what was done
        holds.
    """
    ctx, report = context.ctx, context.report
    ids = [each.payment_id for each in candidates if each.payment_id is not None]
    async with ctx.db.reading() as session:
        ours = await local_records_by_id(session, ids, context.coverage, ctx.clock())
    report.changed_since_read += sum(each.changed_since_read for each in ours.values())
    # a payment that this desk did not take is the platform's own affair
    untracked = {
        each.key for each in candidates if each.payment_id is not None and each.payment_id not in ours
    }
    known = [each for each in theirs if each.key not in untracked]
    groups = {key: list(group) for key, group in groupby(known, key=lambda each: each.key)}
    in_order = [ours[name] for name in sorted(ours)]
    findings = match(in_order, (each for group in groups.values() for each in group))
    result = PageResult()
    for key, same in groupby(findings, key=_key):
        await _settle_one(context, list(same), groups.get(key, []), result)
    return result


def _key(finding: Mismatch) -> str:
    side = finding.ours or finding.theirs
    return side.key if side else ""


async def _settle_one(
    context: ReconciliationContext, found: list[Mismatch], group: list[ProviderRecord], result: PageResult
) -> None:
    ours, report = found[0].ours, context.report
    if ours is None:
        result.left += [e for e in found if e.theirs and report.since <= e.theirs.at < report.until]
        return
    if report.dry_run:
        result.left += await _confirmed(context, ours, found, group)
        return
    for each in found:
        if each.repair is not None and not report.provider_unavailable:
            await _repair(context, each)
    left = await _judged_again(context, ours, found, group)
    names = {each.fingerprint for each in left}
    result.left += left
    result.repaired += [e for e in found if e.repair is not None and e.fingerprint not in names]


async def _repair(context: ReconciliationContext, finding: Mismatch) -> None:
    if context.pace is not None:
        await context.pace()
    try:
        await context.repair(context.ctx, finding, context.actor)
    except RetryLater:
        return  # an event that does not fit yet remains a difference
    except Unavailable as error:
        stop_asking(context.report, error)
    except ConfigurationError:
        raise
    except PaymentError as error:
        log.info("payment %s is left to a person: %s", finding.reference, error.message)


async def _judged_again(
    context: ReconciliationContext, ours: LocalRecord, found: list[Mismatch], group: list[ProviderRecord]
) -> list[Mismatch]:
    """Return the differences that are left after repairs, with the provider asked again where it can be."""
    if not context.asks and not any(each.repair for each in found):
        return found
    return await _confirmed(context, ours, found, group)


async def _confirmed(
    context: ReconciliationContext, ours: LocalRecord, found: list[Mismatch], group: list[ProviderRecord]
) -> list[Mismatch]:
    async with context.ctx.db.reading() as session:
        locked = (await payments_by_id(session, [ours.payment_id])).get(ours.payment_id)
        again = replace(context.coverage, read_at=None)
        now = await local_records_by_id(session, [ours.payment_id], again, context.ctx.clock())
    if locked is None:
        return found
    fresh = now[ours.payment_id]
    if not context.asks or not any(each.kind in _TO_CONFIRM or each.repair for each in found):
        return list(compare_payment(fresh, group))
    try:
        said = await asked(context, locked)
    except Unavailable as error:
        stop_asking(context.report, error)
    if context.report.provider_unavailable:  # what cannot be confirmed is not reported
        return [each for each in compare_payment(fresh, group) if each.kind not in _TO_CONFIRM]
    if said is not None:
        fresh = replace(fresh, expected=True)
        group = _newer(ours, group, said)
    return list(compare_payment(fresh, group))


def _newer(
    ours: LocalRecord, group: list[ProviderRecord], said: list[ProviderRecord]
) -> list[ProviderRecord]:
    """Replace the records that were read of a payment by what the provider says now."""
    refs = {each.ref for each in said} | {ours.ref}
    asked_refunds = any(each.kind is LineKind.REFUND for each in said)
    kept = [
        each
        for each in group
        if (each.ref not in refs and each.reference not in refs) or each.kind is LineKind.DISPUTE
    ]
    if asked_refunds:
        kept = [each for each in kept if each.kind is not LineKind.REFUND]
    return said + kept
