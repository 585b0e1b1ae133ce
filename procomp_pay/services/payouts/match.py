"""Store a bank's lines once, and match payouts with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import Conflict, NotFound, Refused
from procomp_pay.domain.payouts import (
    NOT_ARRIVED,
    BankFileRead,
    BankLine,
    Credit,
    Expected,
    Match,
    PayoutState,
    Question,
    days_of,
    match,
    may_be_same,
    provider_of,
)
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import BankFile
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.payouts.view import PayoutView, today, view_of
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.payouts import BankStatementLine, Payout
from procomp_pay.storage.payouts import repository as store


@dataclass(slots=True)
class Matched:
    """What a run did.

    :param read: lines of the file. :param kept, new: those that may be about payouts, and were not known.
    :param unexplained: lines that name a provider and belong to no payout that is known.
    :param unknown: payouts that should have arrived on days that no file of the bank covers.
    """

    read: int = 0
    kept: int = 0
    new: int = 0
    matches: list[tuple[Match, list[PayoutView], BankStatementLine]] = field(default_factory=list)
    questions: list[tuple[Question, list[PayoutView], list[BankStatementLine]]] = field(default_factory=list)
    unexplained: list[BankStatementLine] = field(default_factory=list)
    missing: list[PayoutView] = field(default_factory=list)
    unknown: list[PayoutView] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.questions or self.unexplained or self.missing or self.unknown)

    def full(self) -> dict[str, Any]:
        return {
            "lines_read": self.read,
            "lines_kept": self.kept,
            "lines_new": self.new,
            "matched": [
                {
                    "payouts": [view.row.payout.ref for view in views],
                    "how": found.how,
                    "line": line_json(line),
                }
                for found, views, line in self.matches
            ],
            "in_doubt": [
                {
                    "why": question.why,
                    "payouts": [view.row.payout.ref for view in views],
                    "lines": [line_json(line) for line in lines],
                }
                for question, views, lines in self.questions
            ],
            "unexplained_lines": [line_json(line) for line in self.unexplained],
            "missing_payouts": [view.row.payout.ref for view in self.missing],
            "payouts_without_bank_lines": [view.row.payout.ref for view in self.unknown],
        }


def line_json(line: BankStatementLine) -> dict[str, Any]:
    """Return a line of the bank as JSON."""
    return {
        "line_id": line.id,
        "account": line.account,
        "booked_on": line.booked_on.isoformat(),
        "amount": line.amount,
        "currency": line.currency,
        "text": line.purpose,
    }


@asynccontextmanager
async def _matching(ctx: AppContext) -> AsyncIterator[None]:
    """Be the only one that matches or reconciles.

    :raises Conflict: another process does.
    """
    async with only_process(ctx.db, "reconcile") as alone:
        if not alone:
            raise Conflict(
                N_("A reconciliation or another matching is running"), next_step=N_("wait for its end")
            )
        yield


async def match_payouts(
    ctx: AppContext, file: BankFile | None, actor: Actor, zone: ZoneInfo, *, is_ours: bool = False
) -> Matched:
    """Store the lines of a bank file that may be about payouts, and match what is open.

    :param is_ours: the operator named the account, so that another one than before is accepted.
    :raises Refused: the file is of another account than the ones before. :raises Conflict: another process
        matches or reconciles.
    """
    async with _matching(ctx):
        result = Matched()
        async with ctx.db.writing() as session:
            if file is not None:
                await _check_account(session, file, is_ours=is_ours)
                await _remember(session, ctx, file, actor, zone)
            payouts = await store.payouts(session)
            if file is not None:
                rows = _rows(ctx, file, [row.payout for row in payouts])
                result.read, result.kept = len(file.lines), len(rows)
                days = [row["booked_on"] for row in rows]
                known = await store.lines_of(session, file.account, min(days), max(days)) if days else []
                result.new = await store.save_lines(session, _not_known(rows, known))
            views = {row.payout.id: view_of(row, today(ctx, zone)) for row in payouts}
            lines = {line.id: line for line in await store.free_lines(session)}
            matches, questions = match(_expected(list(views.values())), _credits(list(lines.values())))
            for found in matches:
                await _set_match(session, ctx, found, actor)
    result.matches = [(m, [views[p] for p in m.payout_ids], lines[m.line_id]) for m in matches]
    result.questions = [
        (q, [views[p] for p in q.payout_ids], [lines[line] for line in q.line_ids]) for q in questions
    ]
    used = {m.line_id for m in matches} | {line_id for q in questions for line_id in q.line_ids}
    result.unexplained = [
        line for line in lines.values() if line.id not in used and provider_of(line.purpose)
    ]
    done = {payout_id for m in matches for payout_id in m.payout_ids}
    open_views = [view for key, view in views.items() if key not in done]
    result.missing = [view for view in open_views if view.state is PayoutState.MISSING]
    result.unknown = [view for view in open_views if view.state is PayoutState.NO_BANK_LINES]
    return result


async def match_by_hand(ctx: AppContext, refs: list[str], line_id: str, actor: Actor) -> Match:
    """Record that a line brought payouts, as a person found out.

    :raises NotFound: no such payout or line. :raises Conflict: one of them is matched already, or another
        process matches or reconciles.
    :raises Refused: the sums differ.
    """
    async with _matching(ctx), ctx.db.writing() as session:
        rows = await store.payouts(session, refs=refs)
        unknown = [ref for ref in refs if not any(ref in (r.payout.id, r.payout.ref) for r in rows)]
        line = next((line for line in await store.free_lines(session) if line.id == line_id), None)
        if unknown:
            raise NotFound(
                N_("There is no payout %(ref)s", ref=unknown[0]), next_step="procomp-pay payouts list"
            )
        if line is None:
            raise NotFound(
                N_("No line %(id)s of the bank is without a payout", id=line_id),
                next_step="procomp-pay payouts match",
            )
        taken = next((row.payout for row in rows if row.payout.bank_line_id is not None), None)
        if taken is not None:
            raise Conflict(
                N_("Payout %(ref)s arrived by another line", ref=taken.ref),
                next_step=f"procomp-pay payouts show {taken.ref}",
            )
        total = sum(row.payout.amount for row in rows)
        if total != line.amount or any(row.payout.currency != line.currency for row in rows):
            raise Refused(
                N_(
                    "The payouts are %(total)s and the line is %(amount)s %(currency)s: they differ",
                    total=total,
                    amount=line.amount,
                    currency=line.currency,
                ),
                next_step=N_("name all the payouts that the line brought"),
            )
        found = Match(tuple(row.payout.id for row in rows), line.id, "by hand")
        await _set_match(session, ctx, found, actor)
    return found


async def _set_match(session: AsyncSession, ctx: AppContext, found: Match, actor: Actor) -> None:
    """Record by which line payouts arrived, with an entry in the chain of each. Nobody else matches now."""
    now = ctx.clock()
    await store.set_match(session, found.payout_ids, found.line_id, found.how, actor.name, now)
    after = {"bank_line_id": found.line_id, "how": found.how, "payouts": len(found.payout_ids)}
    record = actor.record("payout_matched", after=after)
    for payout_id in found.payout_ids:
        await audit.append(session, f"{audit.PAYOUT_CHAIN}{payout_id}", record, now)


async def _check_account(session: Any, file: BankFile, *, is_ours: bool) -> None:
    known = await store.accounts(session)
    if known and file.account not in known and not is_ours:
        raise Refused(
            N_(
                "The statement is of %(account)s; the ones before were of %(known)s. Nothing was used",
                account=file.account,
                known=", ".join(sorted(known)),
            ),
            next_step=N_("if it is ours too, add: --account %(account)s", account=file.account),
        )


async def _remember(
    session: AsyncSession, ctx: AppContext, file: BankFile, actor: Actor, zone: ZoneInfo
) -> None:
    """Store which days a file covers: also one without a line about payouts says that they did not arrive."""
    first, last = file.days or (None, None)
    if last is not None:
        last = min(last, today(ctx, zone))  # a period may be asked for that is not over yet
    read = BankFileRead(ctx.clock(), first, last)
    await store.save_file_read(
        session, ctx.new_id(), read, account=file.account, kind=file.kind, by=actor.name
    )


def _rows(ctx: AppContext, file: BankFile, payouts: list[Payout]) -> list[dict[str, Any]]:
    """Return the rows of lines that may be about payouts; other lines of the account are not ours to keep."""
    amounts = {(payout.amount, payout.currency) for payout in payouts}
    seen: Counter[str] = Counter()
    rows = []
    for line in file.lines:
        said = repr(
            (
                line.account,
                line.booked_on,
                f"{line.amount:.2f}",
                line.currency,
                line.number,
                line.party,
                line.purpose,
            )
        )
        seen[said] += 1
        if provider_of(line.text) is None and (line.amount, line.currency) not in amounts:
            continue
        digest = hashlib.sha256(f"{said}#{seen[said]}".encode()).hexdigest()
        rows.append(_row(ctx, line, f"{file.kind}:{digest}"))
    return rows


def _not_known(rows: list[dict[str, Any]], known: list[BankStatementLine]) -> list[dict[str, Any]]:
    """Return the rows that no line is known for, neither of this format nor of another one.

    Formats tell the same credit in other words. So each line that files of other formats brought stands for
    one row of its day, sum and currency: the one whose words are most like its own, and never one that names
    another payout, day or provider.
    """
    fingerprints = {line.fingerprint for line in known}
    others: dict[tuple[Any, ...], list[BankStatementLine]] = {}
    for line in known:
        others.setdefault((line.booked_on, line.amount, line.currency), []).append(line)
    new: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["fingerprint"] not in fingerprints:
            new.setdefault((row["booked_on"], row["amount"], row["currency"]), []).append(row)
    left = []
    for key, found in new.items():
        kind = _format(found[0]["fingerprint"])
        elsewhere = [line for line in others.get(key, ()) if _format(line.fingerprint) != kind]
        alike = sorted(
            (
                (_likeness(row["purpose"], line.purpose), n, line.id)
                for n, row in enumerate(found)
                for line in elsewhere
                if may_be_same(row["purpose"], line.purpose, row["booked_on"])
            ),
            reverse=True,
        )
        same: dict[int, str] = {}
        for _, n, line_id in alike:
            if n not in same and line_id not in same.values():
                same[n] = line_id
        left += [row for n, row in enumerate(found) if n not in same]
    return left


def _likeness(one: str, other: str) -> int:
    return len(set(one.casefold().split()) & set(other.casefold().split()))


def _format(fingerprint: str) -> str:
    """Return the format of the file that a line was read from; empty for a line that was stored without."""
    return fingerprint.rpartition(":")[0]


def _row(ctx: AppContext, line: BankLine, digest: str) -> dict[str, Any]:
    return {
        "id": ctx.new_id(), "account": line.account, "booked_on": line.booked_on, "amount": line.amount,
        "currency": line.currency, "purpose": line.text[:500], "fingerprint": digest,
        "recorded_at": ctx.clock(),
    }  # fmt: skip


def _expected(views: list[PayoutView]) -> list[Expected]:
    return [_one(view.row.payout) for view in views if view.state in NOT_ARRIVED]


def _one(payout: Payout) -> Expected:
    own = days_of(date.fromisoformat(payout.ref)) if payout.provider == "kaspi" else (payout.ref,)
    words = (*own, *((payout.trace,) if payout.trace else ()))
    return Expected(payout.id, payout.provider, payout.currency, payout.amount, payout.expected_on, words)


def _credits(lines: list[BankStatementLine]) -> list[Credit]:
    return [Credit(line.id, line.booked_on, line.currency, line.amount, line.purpose) for line in lines]
