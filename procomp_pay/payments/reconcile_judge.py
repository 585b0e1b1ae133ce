"""Judge suspects a page at a time, mend what mends itself, and write the rest down for a person."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import groupby

from procomp_pay.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    NotYet,
    PaymentError,
    Unavailable,
)
from procomp_pay.domain.matching import judge, match
from procomp_pay.domain.rules import DiscrepancyKind
from procomp_pay.domain.sides import Finding, Ours, Theirs
from procomp_pay.domain.statement import LineKind
from procomp_pay.payments.desk import Actor, Desk
from procomp_pay.payments.reconcile_books import Reach, held_by_id, ours_by_id
from procomp_pay.payments.reconcile_mend import ask, mend_by_asking
from procomp_pay.payments.reconcile_report import Report, facts
from procomp_pay.storage import discrepancies as store
from procomp_pay.storage.payments import Held
from procomp_pay.storage.staging import Suspect

log = logging.getLogger(__name__)

_K = DiscrepancyKind
#: What is found by comparing with what was read a while ago: the provider is asked again before it is said.
_TO_CONFIRM = frozenset({_K.STATUS_MISMATCH, _K.MISSING_AT_PROVIDER, _K.AMOUNT_MISMATCH, _K.REFUND_MISMATCH})
#: What our own books tell, whatever the provider says.
_OF_OUR_BOOKS = frozenset({_K.PARTICIPANT_MISMATCH, _K.LATE_PAYMENT, _K.DUPLICATE_PAYMENT})

Mend = Callable[[Desk, Finding, Actor], Awaitable[None]]
Pace = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Court:
    """What judging needs.

    :param mend: how a difference is mended.
    :param asks: whether the provider can be asked about one payment; a statement stands for itself.
    :param pace: awaited before each question, so that the provider is not flooded.
    """

    desk: Desk
    actor: Actor
    reach: Reach
    report: Report
    mend: Mend = mend_by_asking
    asks: bool = True
    pace: Pace | None = None


async def judge_page(court: Court, suspects: list[Suspect], theirs: list[Theirs]) -> None:
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
    verdicts = _Verdicts()
    for key, same in groupby(findings, key=_key):
        await _settle_one(court, list(same), groups.get(key, []), verdicts)
    await keep(court, verdicts.left, verdicts.mended)


@dataclass(slots=True)
class _Verdicts:
    """A page's: written down together, since a million lines may have thousands of differences."""

    left: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)


def _key(finding: Finding) -> str:
    side = finding.ours or finding.theirs
    return side.key if side else ""


async def _settle_one(court: Court, found: list[Finding], group: list[Theirs], verdicts: _Verdicts) -> None:
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
        _fell_silent(court.report, error)
    except ConfigurationError:
        raise
    except PaymentError as error:
        log.info("payment %s is left to a person: %s", finding.mark, error.message)


def _fell_silent(report: Report, error: Unavailable) -> None:
    """A provider that goes away while it is asked about single payments ends the asking, and undoes nothing.

    :raises DatabaseUnavailable: it is the database that went away.
    """
    if isinstance(error, DatabaseUnavailable):
        raise error
    report.silent = True
    report.cut = report.cut or f"{error.message}, while differences were looked into"


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
        said = await _asked(court, held)
    except Unavailable as error:
        _fell_silent(court.report, error)
    if court.report.silent:  # what cannot be confirmed is not said
        return [each for each in judge(fresh, group) if each.kind not in _TO_CONFIRM]
    if said is not None:
        fresh = replace(fresh, expected=True)
        group = _newer(ours, group, said)
    return list(judge(fresh, group))


async def _asked(court: Court, held: Held) -> list[Theirs] | None:
    if court.report.silent:
        return None
    if court.pace is not None:
        await court.pace()
    return await ask(court.desk, held)


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


async def keep(court: Court, left: list[Finding], mended: list[Finding]) -> None:
    """Write down what is left; in a dry run say what would be."""
    desk, report = court.desk, court.report
    for each in mended:
        report.add(each, "repaired")
    if report.dry_run:
        for each in left:
            report.add(each, "would repair" if each.repair else "would open")
        return
    if not left:
        return
    found = [
        store.Found(
            each.fingerprint,
            each.kind,
            report.provider,
            each.ours.payment_id if each.ours else None,
            {"what": each.what, "source": report.source} | facts(each),
        )
        for each in left
    ]
    ids = [desk.new_id() for _ in left]
    async with desk.db.writing() as session:
        became = await store.keep(session, found, ids=ids, run_id=report.run_id, now=desk.clock())
    for each, word in zip(left, became, strict=True):
        report.add(each, word)


async def look_back(court: Court) -> None:
    """Judge what was open before and was not found again: closed by itself where it is gone, and the provider
    says so.

    :raises DatabaseUnavailable, ConfigurationError: it cannot go on.
    """
    desk, report = court.desk, court.report
    begun = court.reach.read_at or desk.clock()
    after = ""
    while True:
        async with desk.db.reading() as session:
            rows = await store.open_ones(session, report.provider, unseen_since=begun, after=after)
        if not rows:
            return
        for row in rows:
            try:
                gone = "override" not in row.detail and await _is_gone(
                    court, row.payment_id, row.kind, row.fingerprint
                )
            except Unavailable as error:
                _fell_silent(report, error)
                return
            if gone:
                await _close(court, row.id)
        after = rows[-1].id


async def _close(court: Court, row_id: str) -> None:
    desk = court.desk
    async with desk.db.writing() as session:
        row = await store.one(session, row_id, lock=True)
        if row.state.value == "open":
            note = "Not found any more: both sides agree now."
            store.close(row, how=store.GONE, note=note, by=court.actor.name, now=desk.clock())
            court.report.closed += 1


async def _is_gone(court: Court, payment_id: str | None, kind: str, fingerprint: str) -> bool:
    """Whether a difference is gone for certain; for any doubt it stays."""
    mark = fingerprint.split(":", 2)[2]
    if payment_id is None:
        return await is_known_now(court, mark)
    found = await differences(court, payment_id, kind)
    if found is None or fingerprint in {each.fingerprint for each in found}:
        return False
    async with court.desk.db.reading() as session:
        now = await ours_by_id(session, [payment_id], court.reach, court.desk.clock())
    return payment_id in now and _was_asked_about(kind, mark, now[payment_id])


def _was_asked_about(kind: str, mark: str, ours: Ours) -> bool:
    """Asking about a payment tells nothing of a second object that names it, nor of an unknown refund."""
    own = (ours.ref, "payment")
    if kind == _K.REFUND_MISMATCH:
        return not any(each.state.value == "PENDING" for each in ours.refunds)
    if kind in (_K.DUPLICATE_PAYMENT, _K.AMOUNT_MISMATCH, _K.CURRENCY_MISMATCH):
        return mark in own
    if kind == _K.STATUS_MISMATCH:
        return mark in (*own, ours.dispute[0] if ours.dispute else None)
    return True


async def differences(court: Court, payment_id: str, kind: str) -> list[Finding] | None:
    """What differs for one payment now, by asking its provider; ``None`` where that cannot be said: for
    a kind that only the provider could tell of, where it cannot be asked (a bill has nothing at Kaspi).

    :raises Unavailable, ConfigurationError: the provider does not answer.
    """
    desk = court.desk
    async with desk.db.reading() as session:
        held = (await held_by_id(session, [payment_id])).get(payment_id)
        ours = (
            await ours_by_id(session, [payment_id], replace(court.reach, read_at=None), desk.clock())
        ).get(payment_id)
    if held is None or ours is None:
        return None
    said = await _asked(court, held)
    if said is None and kind not in _OF_OUR_BOOKS:
        return None
    if said is not None:
        ours = replace(ours, expected=True)
    return list(judge(replace(ours, moving=False), said or []))


async def is_known_now(court: Court, ref: str) -> bool:
    """Whether a payment of ours has the provider's id by now."""
    from procomp_pay.domain.facts import ProviderIds
    from procomp_pay.storage.payments import find_id

    async with court.desk.db.reading() as session:
        return await find_id(session, ProviderIds(payment_intent=ref, kaspi_payment=ref)) is not None
