"""The closing sheet: its sums against an independent count, and the same sheet at any later time."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.services.context import Actor
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.reports.tournament_closing import THE_APP, tournament_closing
from procomp_pay.services.reports.tournament_closing_result import TournamentClosing
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from procomp_pay.storage.models.reconciliation import Discrepancy, ReconciliationRun
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.report_books import ALMATY, BEGINS, NOW, Books, desk_on, random_books

_NONE = Decimal("0.00")


def a_seal(number: int, at: Any) -> AuditSeal:
    """Return a seal; its other fields do not matter here."""
    values = {
        "id": f"seal{number}", "sealed_at": at, "merkle_root": f"{number:064}", "chain_count": 1,
        "sealed_by": "aigerim", "number": number, "last_entry_id": number, "previous_root": "",
        "entry_count": 1,
    }  # fmt: skip
    return AuditSeal(**{name: value for name, value in values.items() if name in AuditSeal.model_fields})


async def test_late_and_duplicate_payments_need_review_until_they_are_settled(
    db: PaymentDatabaseService,
) -> None:
    books = random_books(5, 80)
    await books.write(db)
    for tournament in ("t1", "t2", "t3"):
        sheet = await tournament_closing(desk_on(db), tournament, ALMATY)
        open_ones = {row.payment_id for row in books.discrepancies if row.state == "open"}
        of_it = {line.payment_id for line in sheet.lines}
        disputed = {line.payment_id for line in sheet.lines if line.dispute}
        assert {line.payment_id for line in sheet.odd} == (open_ones | disputed) & of_it


@pytest.mark.parametrize("seed", range(3))
async def test_the_sums_equal_an_independent_count(db: PaymentDatabaseService, seed: int) -> None:
    books = random_books(seed, 80)
    await books.write(db)
    for tournament in ("t1", "t2"):
        sheet = await tournament_closing(desk_on(db), tournament, ALMATY)
        assert [line.payment_id for line in sheet.lines] == _order(books, tournament)
        for key, found in (("", sheet.totals), ("method", sheet.by_method), ("clerk", sheet.by_clerk)):
            assert {(row.name, row.currency): _figures(row) for row in found} == _sums(books, tournament, key)
        mine = {p.id for p in books.payments if p.tournament_id == tournament}
        assert {disagreement.discrepancy_id for disagreement in sheet.disagreements} == {
            d.id for d in books.discrepancies if d.state == "open" and d.payment_id in mine
        }
        assert sheet.strange == sum(d.state == "open" and d.payment_id is None for d in books.discrepancies)
        _fees_agree(sheet, books, mine)


def _order(books: Books, tournament: str) -> list[str]:
    mine = [p.id for p in books.payments if p.tournament_id == tournament]
    return sorted(mine, key=lambda key: (books.details[key].created_at, key))


def _figures(line: Any) -> tuple[Any, ...]:
    return (line.started, line.paid, line.waiting, line.taken, line.refunded, line.lost, line.kept)


def _sums(books: Books, tournament: str, key: str) -> dict[Any, tuple[Any, ...]]:
    sums: dict[Any, list[Any]] = defaultdict(lambda: [0, 0, 0, _NONE, _NONE, _NONE])
    for p in books.payments:
        if p.tournament_id != tournament:
            continue
        d = books.details[p.id]
        name = {"": "", "method": p.method.public_name, "clerk": d.started_by}[key] if p.method else ""
        row = sums[name, d.charged_currency.value]
        row[0] += 1
        row[1] += d.completed_at is not None
        row[2] += p.status in ("PENDING", "PROCESSING")
        row[3] += d.charged_amount if d.completed_at else 0
        row[4] += sum(
            r.amount for r in books.refunds if r.payment_id == p.id and r.state is RefundState.SUCCEEDED
        )
        row[5] += d.dispute_amount if d.dispute_state is DisputeState.LOST and d.dispute_amount else 0
    return {item: (*row, row[3] - row[4] - row[5]) for item, row in sums.items()}


def _fees_agree(sheet: TournamentClosing, books: Books, mine: set[str]) -> None:
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    known = set()
    for s in books.movements:
        if s.payment_id in mine and s.fee is not None:
            wanted[s.currency] += s.fee
            known |= {s.payment_id} if s.kind == "payment" else set()
    assert {item.currency: item.fees for item in sheet.after_fees if item.fees is not None} == wanted
    missing = sum(1 for line in sheet.lines if line.is_paid and line.payment_id not in known)
    assert sum(item.without_fee for item in sheet.after_fees) == missing
    for item in sheet.after_fees:
        assert (item.net is None) == (item.without_fee > 0)


async def test_a_sheet_as_of_a_past_time_equals_the_sheet_of_that_time(
    environment: ServiceEnvironment,
) -> None:
    """Leave out of the sheet everything that happened after its time."""
    participant_id = await environment.participant()
    other = await environment.participant(tournament_id=f"t-{participant_id}", full_name="=1+1")
    paid = await environment.paid(participant_id, "apple_pay")
    waiting = await environment.start(other, "kaspi_qr")
    then = await tournament_closing(environment.ctx, f"t-{participant_id}", ALMATY)
    assert [line.status.value for line in then.lines] == ["COMPLETED", "PENDING"]
    assert then.totals[1].currency == "USD"
    assert then.totals[1].kept == Decimal("50.00")
    assert not then.agrees

    environment.later(2)
    await refund(environment.ctx, RefundCommand(paid.view.payment_id, "ill"), CLERK)
    await environment.phone(waiting)
    environment.later(10)
    await environment.deliver()
    await environment.maintain()
    later_one = await environment.participant(tournament_id=f"t-{participant_id}")
    await environment.start(later_one, "kaspi_qr")

    again = await tournament_closing(environment.ctx, f"t-{participant_id}", ALMATY, then.as_of)
    assert again.full() == then.full()
    now = await tournament_closing(environment.ctx, f"t-{participant_id}", ALMATY)
    assert [line.status.value for line in now.lines] == ["REFUNDED", "COMPLETED", "PENDING"]
    assert now.totals[1].refunded == Decimal("50.00")


async def test_the_sheet_names_the_last_checks(db: PaymentDatabaseService) -> None:
    books = random_books(1, 30)
    await books.write(db)
    early = await tournament_closing(desk_on(db), "t1", ALMATY)
    assert early.seal is None
    assert {check.state for check in early.checks} == {"never"}
    async with db.writing() as session:
        session.add_all([a_seal(1, NOW - timedelta(days=2)), a_seal(2, NOW - timedelta(days=1))])
        for number, (begins, ends) in enumerate(
            ((BEGINS - timedelta(days=9), BEGINS - timedelta(days=8)), (BEGINS, NOW), (BEGINS, NOW))
        ):
            at = NOW - timedelta(hours=9 - number)
            session.add(
                ReconciliationRun(
                    id=f"run{number}", provider="kaspi", window_from=begins, window_until=ends, state="done",
                    started_at=at, finished_at=at + timedelta(minutes=1), started_by="cron",
                    counts={"matched": number},
                )
            )  # fmt: skip
    sheet = await tournament_closing(desk_on(db), "t1", ALMATY)
    assert sheet.seal is not None
    assert sheet.seal[0] == f"{2:064}"
    by_provider = {check.provider: check for check in sheet.checks}
    assert by_provider["kaspi"].counts == {"matched": 2}
    assert by_provider["stripe"].state == "never"
    before = await tournament_closing(desk_on(db), "t1", ALMATY, NOW - timedelta(days=1, hours=1))
    assert before.seal is not None
    assert before.seal[0] == f"{1:064}"
    assert {check.state for check in before.checks} == {"never"}


async def test_a_discrepancy_is_open_before_its_resolution(db: PaymentDatabaseService) -> None:
    books = random_books(2, 20)
    books.discrepancies.clear()
    mine = next(p.id for p in books.payments if p.tournament_id == "t1")
    books.discrepancies.append(
        Discrepancy(
            id="d1", fingerprint="f1", kind="LATE_PAYMENT", payment_id=mine, detail={}, state="resolved",
            opened_at=NOW - timedelta(hours=5), last_seen_at=NOW, resolved_at=NOW - timedelta(hours=1),
        )
    )  # fmt: skip
    await books.write(db)
    counts = [
        len((await tournament_closing(desk_on(db), "t1", ALMATY, NOW - timedelta(hours=hours))).disagreements)
        for hours in (6, 3, 0)
    ]
    assert counts == [0, 1, 0]


async def test_all_users_of_the_app_count_as_one_clerk(db: PaymentDatabaseService) -> None:
    books = random_books(5, 10)
    for number, p in enumerate(books.payments):
        books.audits = [audit for audit in books.audits if audit.payment_id != p.id]
        books.audits.append(
            AuditEntry(
                payment_id=p.id, seq=1, at=p.created_at, actor="u7", source=Source.APP.value,
                action="started", prev_hash="0", hash=str(number),
            )
        )  # fmt: skip
    await books.write(db)
    sheet = await tournament_closing(desk_on(db), books.payments[0].tournament_id, ALMATY)
    assert {item.name for item in sheet.by_clerk} == {THE_APP}
    assert Actor("u7", Source.APP).name not in str(sheet.full()["by_clerk"])


async def test_a_tournament_without_payments(db: PaymentDatabaseService) -> None:
    await Books().write(db)
    sheet = await tournament_closing(desk_on(db), "t3", ALMATY)
    assert sheet.lines == []
    assert sheet.agrees
    assert [check.state for check in sheet.checks] == ["never", "never"]


async def test_invalid_closings_are_refused(db: PaymentDatabaseService) -> None:
    await Books().write(db)
    with pytest.raises(NotFound):
        await tournament_closing(desk_on(db), "t9", ALMATY)
    with pytest.raises(Refused, match="in the future"):
        await tournament_closing(desk_on(db), "t1", ALMATY, NOW + timedelta(seconds=1))
