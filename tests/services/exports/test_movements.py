"""Exports: every movement of the books once, with its fee, as a count of the rows gives it."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.exports import Export
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundState
from procomp_pay.services.exports.movements import COLUMNS, Movement, movements
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.registrations import ParticipantDetail
from tests.support.report_books import ALMATY, BEGINS, Oracle, desk_on, random_books

ALL = Period(ALMATY)


async def read(db: PaymentDatabaseService, what: Export, period: Period = ALL, **more: Any) -> list[Movement]:
    return [row async for row in movements(desk_on(db), what, period, **more)]


@pytest.mark.parametrize("seed", range(2))
async def test_every_movement_is_there_once_with_its_fee(db: PaymentDatabaseService, seed: int) -> None:
    books = random_books(seed, 80)
    await books.write(db)
    rows = await read(db, Export.PAYMENTS)
    assert sorted(str(row.payment_id) for row in rows) == sorted(
        key for key, detail in books.details.items() if detail.completed_at
    )
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    fees = {s.payment_id: s for s in books.movements if s.kind is LineKind.PAYMENT}
    for row in rows:
        settled = fees.get(str(row.payment_id))
        known = settled is not None and settled.fee is not None
        assert (row.fee, row.net, row.balance_currency) == (
            (settled.fee, settled.net, settled.currency) if known and settled else (None, None, None)
        )
    refunds = await read(db, Export.REFUNDS)
    assert sorted((row.payment_id, -row.gross) for row in refunds) == sorted(
        (r.payment_id, r.amount) for r in books.refunds if r.state is RefundState.SUCCEEDED
    )


async def test_the_days_of_an_export_are_those_of_the_report(db: PaymentDatabaseService) -> None:
    books = random_books(4, 80)
    await books.write(db)
    since, until = date(2024, 2, 29), date(2024, 3, 1)
    wanted = Oracle(books, "t1", since, until).money("all")
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for what, name, sign in ((Export.PAYMENTS, "revenue", 1), (Export.REFUNDS, "refunded", -1)):
        for row in await read(db, what, Period(ALMATY, since, until), tournament_id="t1"):
            sums[row.currency][name] += sign * row.gross
    assert sums
    assert {k: dict(v) for k, v in sums.items()} == {
        currency: {name: row[name] for name in ("revenue", "refunded") if row[name]}
        for (_, currency), row in wanted.items()
        if row["revenue"] or row["refunded"]
    }


async def test_names_numbers_and_the_fiscal_receipt(db: PaymentDatabaseService) -> None:
    books = random_books(1, 40)
    key = next(k for k, d in books.details.items() if d.completed_at)
    for number, fiscal in ((70, "111"), (71, "222")):
        books.audits.append(
            AuditEntry(
                payment_id=key, seq=number, at=BEGINS, actor="aigerim", source="person",
                action="fiscal_receipt", after={"number": fiscal}, prev_hash="0", hash=f"{key}{number}",
            )
        )  # fmt: skip
    await books.write(db)
    (row,) = [row for row in await read(db, Export.PAYMENTS) if row.payment_id == key]
    values = row.values()
    assert tuple(values) == COLUMNS
    assert values["fiscal_number"] == "222"  # the last one that was recorded
    assert values["participant"] == "(removed)"
    assert values["tournament"].startswith("Кубок")
    assert values["gross"] == f"{books.details[key].charged_amount:.2f}"


@pytest.mark.parametrize(("number", "ref"), [("kaspi:140088", "140088"), ("re_1", "re_1")])
async def test_a_refund_has_its_fee_whatever_its_number(
    db: PaymentDatabaseService, number: str, ref: str
) -> None:
    books = random_books(1, 40)
    refund = next(one for one in books.refunds if one.state is RefundState.SUCCEEDED)
    refund.provider_refund_id = number
    for other, fee in ((ref, "-1.25"), (f"9{ref}", "-7.00")):
        books.movements.append(
            ProviderMovement(
                id=f"s-{other}", provider="kaspi", kind=LineKind.REFUND, ref=other,
                payment_id=refund.payment_id,
                amount=-refund.amount, fee=Decimal(fee), net=-refund.amount - Decimal(fee),
                currency=refund.currency, at=BEGINS, source="statement", recorded_at=BEGINS,
            )
        )  # fmt: skip
    await books.write(db)
    (row,) = [row for row in await read(db, Export.REFUNDS) if row.provider_number == number]
    assert (row.fee, row.net) == (Decimal("-1.25"), -refund.amount + Decimal("1.25"))


async def test_a_club_is_in_its_column(db: PaymentDatabaseService) -> None:
    books = random_books(1, 40)
    books.participants.clear()
    await books.write(db)
    key = next(k for k, d in books.details.items() if d.completed_at)
    from procomp_pay.domain.states import ParticipantStatus
    from procomp_pay.storage.models.platform import Participant

    async with db.writing() as session:
        session.add(
            Participant(
                id=f"p-{key}", user_id="u1", tournament_id="t1", status=ParticipantStatus.PAID,
                full_name="Әлия", created_at=BEGINS, updated_at=BEGINS,
            )
        )  # fmt: skip
        await session.flush()
        session.add(ParticipantDetail(participant_id=f"p-{key}", club="Барыс", updated_at=BEGINS))
    (row,) = [row for row in await read(db, Export.PAYMENTS) if row.payment_id == key]
    assert (row.participant, row.club) == ("Әлия", "Барыс")


async def test_an_unknown_tournament_is_named(db: PaymentDatabaseService) -> None:
    with pytest.raises(NotFound):
        await read(db, Export.PAYMENTS, tournament_id="nowhere")
