"""Seals show what a chain alone does not: an end cut off, a payment gone, a chain rewritten as a whole."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from procomp_pay.domain.errors import ManualReviewRequired
from procomp_pay.services.audit.seals import NEWEST, choose, seal, seal_if_due
from procomp_pay.services.audit.verify import AuditReport, Flaw, verify
from procomp_pay.services.views.payment import Opening
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit.chain import AuditRecord
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from tests.support.environment import ServiceEnvironment

NOTED = AuditRecord("aigerim", "person", "noted")


async def grow(environment: ServiceEnvironment, opened: Opening, times: int = 1) -> None:
    """More entries, whose absence no row of the payment betrays."""
    async with environment.ctx.db.writing() as session:
        for _ in range(times):
            await audit.append(session, opened.view.payment_id, NOTED, environment.now())


async def sealed(environment: ServiceEnvironment) -> tuple[Opening, Opening]:
    """Two payments, sealed, and a little that came afterwards."""
    first = await environment.start()
    second = await environment.start()
    await grow(environment, first, 2)
    await seal(environment.ctx, "aigerim")
    await grow(environment, second)
    return first, second


def details(report: AuditReport) -> list[str]:
    return [finding.detail for finding in report.findings if finding.flaw is Flaw.SEAL]


@pytest.mark.parametrize("page", [1, 500])
async def test_what_nobody_touched_agrees_with_every_seal(
    environment: ServiceEnvironment, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await sealed(environment)
    monkeypatch.setattr(audit_read, "PAGE", page)
    made = await seal(environment.ctx, "aigerim")
    assert (made.number, made.chains, made.entries) == (2, 2, len(await environment.rows(AuditEntry)))
    await grow(environment, first)
    report = await verify(environment.ctx, root=made.root)
    assert (report.findings, report.seals, report.root) == ([], 2, made.root)
    assert (await verify(environment.ctx, root=made.previous_root.upper())).is_sound
    assert (await verify(environment.ctx, first.view.payment_id)).seals == 0


async def test_nothing_to_seal_is_sealed_as_well(environment: ServiceEnvironment) -> None:
    assert (await seal(environment.ctx, "aigerim")).chains == 0
    await environment.start()
    assert (await verify(environment.ctx)).is_sound


async def test_an_end_that_was_cut_off(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    one = {"id": first.view.payment_id}
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :id AND seq = 4", **one)
    assert (await verify(environment.ctx, first.view.payment_id)).is_sound, (
        "the chain itself does not show it"
    )
    report = await verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.SEAL]
    assert "seal 1 of" in details(report)[0]
    assert "the end of a chain was cut off" in details(report)[0]


async def test_a_payment_that_is_gone_with_all_its_traces(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    one = {"id": first.view.payment_id}
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :id", **one)
    await environment.sql("DELETE FROM pay_payment_detail WHERE payment_id = :id", **one)
    await environment.sql("""DELETE FROM "Payment" WHERE id = :id""", **one)
    report = await verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.SEAL]
    assert "a whole chain is gone" in details(report)[0]


async def test_a_table_that_was_emptied(environment: ServiceEnvironment) -> None:
    await sealed(environment)
    await environment.sql("DELETE FROM pay_audit_entry")
    report = await verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.NO_CHAIN, Flaw.NO_CHAIN, Flaw.SEAL]


async def test_a_chain_rewritten_with_new_hashes(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    async with environment.ctx.db.writing() as session:
        before = audit.GENESIS
        for entry in await audit.entries(session, first.view.payment_id):
            entry.actor, entry.prev_hash = "somebody", before
            entry.hash = before = audit.entry_hash(entry)
    assert (await verify(environment.ctx, first.view.payment_id)).is_sound
    assert "rewritten" in details(await verify(environment.ctx))[0]


async def test_a_chain_that_was_put_in_below_a_seal(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    await environment.sql(
        "UPDATE pay_audit_entry SET id = -id WHERE payment_id = :id", id=first.view.payment_id
    )
    async with environment.ctx.db.writing() as session:
        entry = await audit.append(session, "forged", NOTED, environment.now())
    await environment.sql("UPDATE pay_audit_entry SET id = 0 WHERE id = :id", id=entry.id)
    assert any("entries were inserted" in detail for detail in details(await verify(environment.ctx)))


@pytest.mark.parametrize(
    "change",
    ["merkle_root = 'x'", "sealed_by = 'x'", "last_entry_id = last_entry_id - 1", "entry_count = 0",
     "sealed_at = '2020-01-01 00:00:00.000000'", "chain_count = 9"],
)  # fmt: skip
async def test_a_seal_that_was_changed(environment: ServiceEnvironment, change: str) -> None:
    await sealed(environment)
    await seal(environment.ctx, "aigerim")
    await environment.sql(f"UPDATE pay_audit_seal SET {change} WHERE number = 1")
    assert details(await verify(environment.ctx))


async def test_a_seal_that_was_taken_out(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    for _ in range(2):
        await grow(environment, first)
        made = await seal(environment.ctx, "aigerim")
    await environment.sql("DELETE FROM pay_audit_seal WHERE number = 2")
    assert "after seal 1 comes seal 3" in details(await verify(environment.ctx))[0]
    await environment.sql("UPDATE pay_audit_seal SET number = 2 WHERE number = 3")
    assert "seal 2 does not continue seal 1" in details(await verify(environment.ctx))[0]
    await environment.sql("DELETE FROM pay_audit_seal WHERE number = 2")
    assert (await verify(environment.ctx)).is_sound, "the newest one leaves no gap"
    assert "no seal has the root" in details(await verify(environment.ctx, root=made.root))[0]


async def test_forged_seals_do_not_agree_with_a_root_that_was_sent_away(
    environment: ServiceEnvironment,
) -> None:
    first, _ = await sealed(environment)
    kept = (await seal(environment.ctx, "aigerim")).root
    await environment.sql("DELETE FROM pay_audit_seal")
    await environment.sql(
        "DELETE FROM pay_audit_entry WHERE payment_id = :id AND seq = 4",
        id=first.view.payment_id,
    )
    for _ in range(2):
        await seal(environment.ctx, "aigerim")
    assert (await verify(environment.ctx)).is_sound
    assert details(await verify(environment.ctx, root=kept))


async def test_a_broken_trail_is_not_sealed_over(environment: ServiceEnvironment) -> None:
    first, _ = await sealed(environment)
    await environment.sql(
        "DELETE FROM pay_audit_entry WHERE payment_id = :id AND seq = 4",
        id=first.view.payment_id,
    )
    with pytest.raises(ManualReviewRequired, match="cut off"):
        await seal(environment.ctx, "aigerim")
    assert len(await environment.rows(AuditSeal)) == 1
    await seal(environment.ctx, "aigerim", force=True)
    assert len(details(await verify(environment.ctx))) == 1, "it still shows"


async def test_no_entry_slips_under_a_seal(environment: ServiceEnvironment) -> None:
    """An entry has its id before it is committed: the seal waits for it, and covers it."""
    opened = await environment.start()
    async with environment.ctx.db.writing() as session:
        entry = await audit.append(session, opened.view.payment_id, NOTED, environment.now())
        sealing = asyncio.create_task(seal(environment.ctx, "aigerim"))
        await asyncio.sleep(0.3)
        assert not sealing.done()
    made = await sealing
    assert made.last_entry_id == entry.id
    assert made.entries == entry.seq
    assert (await verify(environment.ctx)).is_sound


async def test_a_writer_that_hangs_holds_no_seal_for_ever(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment.ctx.db.is_sqlite():
        pytest.skip("a SQLite file has one writer, and 30 s of patience")
    monkeypatch.setattr("procomp_pay.storage.audit.seals._LOCK_TIMEOUT", "50ms")
    opened = await environment.start()
    async with environment.ctx.db.writing() as session:
        await audit.append(session, opened.view.payment_id, NOTED, environment.now())
        with pytest.raises(DatabaseBusy):
            await seal(environment.ctx, "aigerim")


async def test_two_who_seal_at_once_leave_one_row_of_seals(environment: ServiceEnvironment) -> None:
    await sealed(environment)
    done = await asyncio.gather(*(seal(environment.ctx, "x") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, DatabaseBusy) for outcome in done if isinstance(outcome, Exception))
    numbers = sorted(row.number for row in await environment.rows(AuditSeal))
    assert numbers == list(range(1, len(numbers) + 1))
    assert (await verify(environment.ctx)).is_sound


async def test_sealed_when_it_is_due(environment: ServiceEnvironment) -> None:
    day = timedelta(days=1)
    assert await seal_if_due(environment.ctx, "maintain", day) is None, "nothing has happened"
    opened = await environment.start()
    assert await seal_if_due(environment.ctx, "maintain", day) is not None
    await grow(environment, opened)
    assert await seal_if_due(environment.ctx, "maintain", day) is None, "too early"
    environment.offset += day
    assert await seal_if_due(environment.ctx, "maintain", day) is not None
    environment.offset += day
    assert await seal_if_due(environment.ctx, "maintain", day) is None, "nothing new"


async def test_of_many_seals_the_newest_and_some_older_are_computed_again() -> None:
    seals = [AuditSeal(number=n, merkle_root=f"r{n}") for n in range(1, 1001)]
    numbers = [item.number for item in choose(seals, root="r7")]
    assert numbers[-NEWEST:] == list(range(1001 - NEWEST, 1001))
    assert {1, 7, 970, 940, 880} <= set(numbers)
    assert len(numbers) < 2 * NEWEST
    assert choose(seals, everyone=True) == seals
