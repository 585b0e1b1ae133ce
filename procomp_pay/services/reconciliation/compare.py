"""Judge suspects a page at a time, and mend what mends itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import groupby

from procomp_pay.domain.errors import ConfigurationError, NotYet, PaymentError, Unavailable
from procomp_pay.domain.reconciliation.compare import judge, match
from procomp_pay.domain.reconciliation.records import Finding, Ours, Theirs
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.transitions import DiscrepancyKind
from procomp_pay.services.reconciliation.context import Court, Verdicts, asked, fell_silent
from procomp_pay.services.reconciliation.our_records import held_by_id, ours_by_id
from procomp_pay.storage.reconciliation.staging import Suspect

log = logging.getLogger(__name__)

_K = DiscrepancyKind
#: What is found by comparing with what was read a while ago: the provider is asked again before it is said.
_TO_CONFIRM = frozenset({_K.STATUS_MISMATCH, _K.MISSING_AT_PROVIDER, _K.AMOUNT_MISMATCH, _K.REFUND_MISMATCH})


async def judge_page(court: Court, suspects: list[Suspect], theirs: list[Theirs]) -> Verdicts:
    """Judge the payments of one page; both lists are in order of their keys.

    :raises Unavailable, ConfigurationError: the provider or the database does not answer; what was done
        holds.
    """
    desk, report = court.desk, court.report
    ids = [each.payment_id for each in suspects if each.payment_id is not None]
    async with desk.db.reading() as session:
        ours = await ours_by_id(session, ids, court.reach, desk.clock())
    report.moving += sum(each.moving for each in ours.values())
    # a payment that this desk did not take is the platform's own affair
    alien = {each.key for each in suspects if each.payment_id is not None and each.payment_id not in ours}
    known = [each for each in theirs if each.key not in alien]
    groups = {key: list(group) for key, group in groupby(known, key=lambda each: each.key)}
    in_order = [ours[name] for name in sorted(ours)]
    findings = match(in_order, (each for group in groups.values() for each in group))
    verdicts = Verdicts()
    for key, same in groupby(findings, key=_key):
        await _settle_one(court, list(same), groups.get(key, []), verdicts)
    return verdicts


def _key(finding: Finding) -> str:
    side = finding.ours or finding.theirs
    return side.key if side else ""


async def _settle_one(court: Court, found: list[Finding], group: list[Theirs], verdicts: Verdicts) -> None:
    ours, report = found[0].ours, court.report
    if ours is None:
        verdicts.left += [e for e in found if e.theirs and report.since <= e.theirs.at < report.until]
        return
    if report.dry_run:
        verdicts.left += await _confirmed(court, ours, found, group)
        return
    for each in found:
        if each.repair is not None and not report.silent:
            await _mend(court, each)
    left = await _judged_again(court, ours, found, group)
    names = {each.fingerprint for each in left}
    verdicts.left += left
    verdicts.mended += [e for e in found if e.repair is not None and e.fingerprint not in names]


async def _mend(court: Court, finding: Finding) -> None:
    if court.pace is not None:
        await court.pace()
    try:
        await court.mend(court.desk, finding, court.actor)
    except NotYet:
        return  # news that do not fit yet stay a difference
    except Unavailable as error:
        fell_silent(court.report, error)
    except ConfigurationError:
        raise
    except PaymentError as error:
        log.info("payment %s is left to a person: %s", finding.mark, error.message)


async def _judged_again(court: Court, ours: Ours, found: list[Finding], group: list[Theirs]) -> list[Finding]:
    """What is left after mending, by our books as they are now, and the provider's where it can be asked."""
    if not court.asks and not any(each.repair for each in found):
        return found
    return await _confirmed(court, ours, found, group)


async def _confirmed(court: Court, ours: Ours, found: list[Finding], group: list[Theirs]) -> list[Finding]:
    async with court.desk.db.reading() as session:
        held = (await held_by_id(session, [ours.payment_id])).get(ours.payment_id)
        again = replace(court.reach, read_at=None)
        now = await ours_by_id(session, [ours.payment_id], again, court.desk.clock())
    if held is None:
        return found
    fresh = now[ours.payment_id]
    if not court.asks or not any(each.kind in _TO_CONFIRM or each.repair for each in found):
        return list(judge(fresh, group))
    try:
        said = await asked(court, held)
    except Unavailable as error:
        fell_silent(court.report, error)
    if court.report.silent:  # what cannot be confirmed is not said
        return [each for each in judge(fresh, group) if each.kind not in _TO_CONFIRM]
    if said is not None:
        fresh = replace(fresh, expected=True)
        group = _newer(ours, group, said)
    return list(judge(fresh, group))


def _newer(ours: Ours, group: list[Theirs], said: list[Theirs]) -> list[Theirs]:
    """What the provider says now in place of what was read of the same payment before."""
    refs = {each.ref for each in said} | {ours.ref}
    asked_refunds = any(each.kind is LineKind.REFUND for each in said)
    kept = [
        each
        for each in group
        if (each.ref not in refs and each.mark not in refs) or each.kind is LineKind.DISPUTE
    ]
    if asked_refunds:
        kept = [each for each in kept if each.kind is not LineKind.REFUND]
    return said + kept
