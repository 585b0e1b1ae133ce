"""Files that the sandbox exports, read back and tied to the payments that were really made."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement, Executable, text
from sqlalchemy.ext.compiler import compiles

from procomp_pay.domain.kaspi_statement import Candidate, How, Unmatched, match
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.statement import LineKind, StatementLine
from procomp_pay.payments import views
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.providers.statements.tally import Tally
from procomp_pay.storage import kaspi_candidates
from procomp_pay.storage.module import KaspiOperation, PaymentDetail
from tests.payments.conftest import World

FEE = Money(Decimal(24000), Currency.KZT)


async def export(world: World, path: Path, what: str) -> tuple[list[StatementLine], Tally, str]:
    """A file of the sandbox, with its oddities, as it was read."""
    answer = await world.http.get(f"/_sandbox/{what}")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    with open_statement(path) as statement:
        return list(statement), statement.tally, statement.kind


async def candidates(world: World, line: StatementLine) -> list[Candidate]:
    async with world.desk.db.reading() as session:
        return await kaspi_candidates.candidates(session, line)


async def paid(world: World) -> views.Opening:
    opened = await world.start(await world.participant())
    await world.phone(opened)
    return opened


async def control(world: World, path: str, body: Any) -> Any:
    answer = await world.http.post(f"/_sandbox/kaspi{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


ODD_FILES = (
    "kaspi/statement.csv",
    "kaspi/statement.csv?encoding=cp1251&delimiter=comma&decimal=dot&seconds=0",
    "kaspi/statement.csv?encoding=utf-16&delimiter=tab&thousands=nbsp&order=columns&title=0",
    "kaspi/statement.csv?order=newest&thousands=space&refunds=purchase&payment_ids=1",
    "kaspi/statement.csv?duplicate=1&encoding=utf-8",
    "kaspi/statement.xlsx",
    "kaspi/statement.xlsx?title=0&total=0&duplicate=1&order=columns",
)


async def test_kaspis_export_of_what_happened(world: World, tmp_path: Path) -> None:
    first, second = await paid(world), await paid(world)
    await control(world, f"/payments/{first.view.provider_ref}/cashier-refund", {"Amount": "5000.00"})
    for what in ODD_FILES:
        lines, tally, kind = await export(world, tmp_path / "f", what)
        assert kind.startswith("XLSX" if ".xlsx" in what else "CSV")
        assert not tally.needs_person, (what, tally.skipped, tally.totals)
        assert tally.counts == {LineKind.PAYMENT: 2, LineKind.REFUND: 1}, what
        assert tally.repeated_count == ("duplicate" in what)
        money = {
            line.ref: (line.money, line.fee, line.net) for line in lines if line.kind is LineKind.PAYMENT
        }
        whole = (FEE, Decimal("228.00"), Decimal("23772.00"))
        assert money == {first.view.provider_ref: whole, second.view.provider_ref: whole}
        found = match(lines, {place: await candidates(world, line) for place, line in enumerate(lines)})
        assert {(each.line.kind, each.payment_id, each.how) for each in found} == {
            (LineKind.PAYMENT, first.view.payment_id, How.PAYMENT_ID),
            (LineKind.PAYMENT, second.view.payment_id, How.PAYMENT_ID),
            (LineKind.REFUND, first.view.payment_id, How.PAYMENT_ID),
        }


async def test_numbers_of_their_own_are_matched_by_amount_and_time(world: World, tmp_path: Path) -> None:
    await control(world, "/settings", {"operation_numbers": "own"})
    first = await paid(world)
    world.later(3600)
    second, third = await paid(world), await paid(world)
    lines, _, _ = await export(world, tmp_path / "f", "kaspi/statement.csv")
    found = match(lines, {place: await candidates(world, line) for place, line in enumerate(lines)})
    assert (found[0].payment_id, found[0].how) == (first.view.payment_id, How.AMOUNT_AND_TIME)
    # two in the same minutes for the same fee: nobody can tell, and both are named
    rivals = tuple(sorted((second.view.payment_id, third.view.payment_id)))
    assert [(each.why, each.rivals) for each in found[1:]] == [(Unmatched.AMBIGUOUS, rivals)] * 2
    # a number that became known leaves one
    await _record(world, second, lines[1].ref)
    found = match(lines, {place: await candidates(world, line) for place, line in enumerate(lines)})
    assert [each.payment_id for each in found] == [each.view.payment_id for each in (first, second, third)]


async def _record(world: World, opened: views.Opening, number: str) -> None:
    async with world.desk.db.writing() as session:
        session.add(
            KaspiOperation(
                operation_number=number,
                payment_id=opened.view.payment_id,
                amount=FEE.amount,
                source="test",
                recorded_by="test",
                created_at=world.now(),
            )
        )


async def test_candidates_are_those_of_the_amount_and_the_time(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.start(await world.participant(), "apple_pay")
    line = StatementLine(1, LineKind.PAYMENT, "77", world.now(), FEE)
    [found] = await candidates(world, line)
    assert (found.payment_id, found.charged) == (opened.view.payment_id, FEE)
    assert found.qr_payment_id == opened.view.provider_ref
    assert timedelta(seconds=270) < found.until - found.since < timedelta(seconds=290)
    for changed in (
        {"money": Money(Decimal(23999), Currency.KZT)},
        {"at": line.at + timedelta(minutes=40)},
        {"at": line.at - timedelta(minutes=10)},
        {"kind": LineKind.REFUND},
        {"kind": LineKind.OTHER, "ref": str(opened.view.provider_ref)},
    ):
        values = {name: getattr(line, name) for name in ("number", "kind", "ref", "at", "money")} | changed
        assert await candidates(world, StatementLine(**values)) == []
    # an invoice is open for a day: its end says so
    async with world.desk.db.writing() as session:
        detail = await session.get(PaymentDetail, opened.view.payment_id)
        assert detail is not None
        detail.expires_at = detail.created_at + timedelta(hours=24)
    late = StatementLine(1, LineKind.PAYMENT, "77", world.now() + timedelta(hours=20), FEE)
    assert [each.payment_id for each in await candidates(world, late)] == [opened.view.payment_id]
    # verified: its line bears that number, and no other line can be its
    await _record(world, opened, "55")
    assert await candidates(world, late) == []


class Explain(Executable, ClauseElement):
    """A query's plan."""

    inherit_cache = False

    def __init__(self, query: Any, word: str) -> None:
        self.query = query
        self.word = word


@compiles(Explain)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _explain(element: Explain, compiler: Any, **more: Any) -> str:
    return f"{element.word} {compiler.process(element.query, **more)}"


async def test_candidates_are_found_by_index(world: World) -> None:
    query = kaspi_candidates.by_amount_and_time(FEE, world.now())
    async with world.desk.db.reading() as session:
        connection = await session.connection()
        on_postgresql = session.get_bind().dialect.name == "postgresql"
        if on_postgresql:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is empty
        word = "EXPLAIN" if on_postgresql else "EXPLAIN QUERY PLAN"
        plan = "\n".join(str(row) for row in (await connection.execute(Explain(query, word))).all())
    assert "pay_payment_detail_created_at_payment_id_idx" in plan
    assert "SCAN pay_payment_detail" not in plan


async def test_stripes_report_of_what_happened(world: World, tmp_path: Path) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    await world.pay_page(opened)
    [intent] = await world.stripe_objects("payment_intents")
    [charge] = await world.stripe_objects("charges")
    await world.http.post(f"/_sandbox/stripe/payment_intents/{intent['id']}/dispute", json={})
    [dispute] = await world.stripe_objects("disputes")
    await world.http.post(f"/_sandbox/stripe/disputes/{dispute['id']}/close", json={"won": True})
    for oddity in ("", "?encoding=utf-16&delimiter=tab", "?delimiter=semicolon&decimal=comma&order=columns"):
        lines, tally, _ = await export(world, tmp_path / "f", f"stripe/balance.csv{oddity}")
        assert not tally.needs_person
        assert [(line.kind, line.ref, line.payment_ref) for line in lines] == [
            (LineKind.PAYMENT, charge["id"], intent["id"]),
            (LineKind.DISPUTE, dispute["id"], intent["id"]),
            (LineKind.DISPUTE_REVERSED, dispute["id"], intent["id"]),
        ]
        assert lines[0].money == Money(Decimal(50), Currency.USD)
        assert (lines[0].fee, lines[0].net) == (Decimal("1.75"), Decimal("48.25"))
    newest, _, _ = await export(world, tmp_path / "f", "stripe/balance.csv?order=newest")
    assert [line.ref for line in newest] == [line.ref for line in lines][::-1]


async def test_an_unknown_oddity_is_refused(world: World) -> None:
    kaspi = ("csv?encoding=morse", "xlsx?total=2", "csv?x=1", "csv?since=x")
    for what in (*(f"kaspi/statement.{each}" for each in kaspi), "stripe/balance.csv?decimal=x"):
        assert (await world.http.get(f"/_sandbox/{what}")).status_code == 400


async def test_an_export_of_a_period(world: World, tmp_path: Path) -> None:
    await paid(world)
    since = world.now().timestamp() + 60
    world.later(120)
    late = await paid(world)
    lines, _, _ = await export(world, tmp_path / "f", f"kaspi/statement.csv?since={since}")
    assert [line.ref for line in lines] == [late.view.provider_ref]
    lines, _, _ = await export(world, tmp_path / "f", f"kaspi/statement.csv?until={since}")
    assert len(lines) == 1
    lines, _, _ = await export(world, tmp_path / "f", f"stripe/balance.csv?since={since}")
    assert lines == []
