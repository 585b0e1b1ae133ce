"""The audit trail betrays whoever touched it by SQL."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.states import Channel
from procomp_pay.services.audit import processes
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.verify import Flaw, verify
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.audit import chain
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.models.audit import AuditEntry
from tests.support.environment import CLERK, ServiceEnvironment, usd


async def some(environment: ServiceEnvironment) -> tuple[views.Opening, views.Opening]:
    """Two payments with a history: the first paid and paid back in part, the second open."""
    first = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(first.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    await refund(environment.ctx, RefundCommand(first.view.payment_id, "injured", usd("20")), CLERK)
    return first, await environment.start()


async def flaws(
    environment: ServiceEnvironment, opened: views.Opening | None = None
) -> list[tuple[Flaw, int | None]]:
    report = await verify(environment.ctx, opened.view.payment_id if opened else None)
    return [(finding.flaw, finding.seq) for finding in report.findings]


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_what_nobody_touched_is_sound(
    environment: ServiceEnvironment, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await some(environment)
    monkeypatch.setattr(audit_read, "PAGE", page)
    report = await verify(environment.ctx)
    entries = len(await environment.rows(AuditEntry))
    assert (report.findings, report.chains, report.entries) == ([], 2, entries)
    assert report.is_sound
    assert (await verify(environment.ctx, second.view.payment_id)).chains == 1
    assert await flaws(environment, first) == []


async def test_an_unknown_payment(environment: ServiceEnvironment) -> None:
    with pytest.raises(NotFound):
        await verify(environment.ctx, "nothing")
    assert (await verify(environment.ctx)).is_sound


WHERE = "WHERE payment_id = :id AND seq = :seq"


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody'",
        "action = 'nothing'",
        "note = 'on the house'",
        "at = '2020-01-01 00:00:00.000000'",
        "source_id = 'evt_1'",
        "request_id = ''",
        "before = NULL",
        """after = '{"status": "PENDING"}'""",
        "hash = 'x'",
    ],
)
async def test_an_edited_entry(environment: ServiceEnvironment, change: str) -> None:
    first, _ = await some(environment)
    await environment.sql(f"UPDATE pay_audit_entry SET {change} {WHERE}", id=first.view.payment_id, seq=3)
    found_flaws = await flaws(environment)
    assert (Flaw.EDITED, 3) in found_flaws
    assert await flaws(environment, first) == found_flaws


@pytest.mark.parametrize(
    ("old", "new", "is_edited"),
    [
        ("{", "{ ", False),
        ("{", '{"status": "COMPLETED",', False),  # the parser takes the last of two
        ("}", ',"status": "EXPIRED"}', True),
        ("}", ',"paid": null}', True),
        ("0.00", "0.0", True),
        ("0.00", "-0.00", True),
        ("0.00", "0", True),
        ("0.00", '"0.00"', True),
        ("null", "false", True),
        ("null", '"null"', True),
        ("open", "op\\u0065n", False),
        ("open", "op\\\\u0065n", True),
        ("late", "l\\u0061te", False),
    ],
)
async def test_a_document_written_in_another_way(
    environment: ServiceEnvironment, old: str, new: str, is_edited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await some(environment)
    one = {"id": first.view.payment_id, "seq": 3}
    await verify(environment.ctx)  # learns the shape of the documents
    is_sqlite = environment.ctx.db.is_sqlite()
    kind = "text" if is_sqlite else "jsonb"
    changed = f"CAST(replace(CAST(after AS text), :old, :new) AS {kind})"
    await environment.sql(f"UPDATE pay_audit_entry SET after = {changed} {WHERE}", **one, old=old, new=new)
    if new == "-0.00":
        is_edited = is_sqlite  # PostgreSQL's numbers have no negative zero
    expected = [(Flaw.EDITED, 3)] if is_edited else []
    assert [flaw for flaw in await flaws(environment) if flaw[0] is Flaw.EDITED] == expected
    monkeypatch.setattr(processes, "RANGE", 1)
    assert await verify(environment.ctx, processes=2) == await verify(environment.ctx)


@pytest.mark.parametrize("change", ["hash = CAST(hash AS BLOB)", "note = X''"])
async def test_bytes_in_place_of_a_text(environment: ServiceEnvironment, change: str) -> None:
    if not environment.ctx.db.is_sqlite():
        pytest.skip("PostgreSQL keeps bytes out of its columns of text")
    first, _ = await some(environment)
    await seal(environment.ctx, "owner")
    last = len([e for e in await environment.rows(AuditEntry) if e.payment_id == first.view.payment_id])
    await environment.sql(f"UPDATE pay_audit_entry SET {change} {WHERE}", id=first.view.payment_id, seq=last)
    assert (Flaw.EDITED, last) in await flaws(environment)


async def test_an_edited_entry_with_a_new_hash_breaks_the_link(environment: ServiceEnvironment) -> None:
    first, _ = await some(environment)
    async with environment.ctx.db.writing() as session:
        entry = (await chain.entries(session, first.view.payment_id))[1]
        entry.actor = "somebody"
        entry.hash = chain.entry_hash(entry)
    assert await flaws(environment) == [(Flaw.BROKEN_LINK, 3)]


async def test_an_entry_taken_out(environment: ServiceEnvironment) -> None:
    first, second = await some(environment)
    await environment.sql(f"DELETE FROM pay_audit_entry {WHERE}", id=first.view.payment_id, seq=2)
    await environment.sql(f"DELETE FROM pay_audit_entry {WHERE}", id=second.view.payment_id, seq=1)
    assert sorted(await flaws(environment)) == [(Flaw.MISSING, 2), (Flaw.MISSING, 3)]


async def test_an_entry_taken_out_and_the_numbers_closed_up(environment: ServiceEnvironment) -> None:
    first, _ = await some(environment)
    one = {"id": first.view.payment_id}
    await environment.sql(f"DELETE FROM pay_audit_entry {WHERE}", **one, seq=2)
    for seq in range(3, len(await environment.rows(AuditEntry)) + 2):
        await environment.sql(f"UPDATE pay_audit_entry SET seq = seq - 1 {WHERE}", **one, seq=seq)
    found_flaws = await flaws(environment)
    assert found_flaws[0] == (Flaw.BROKEN_LINK, 2)
    assert (Flaw.EDITED, 2) in found_flaws


async def test_an_entry_put_in(environment: ServiceEnvironment) -> None:
    first, _ = await some(environment)
    one = {"id": first.view.payment_id}
    for seq in range(len(await environment.rows(AuditEntry)), 2, -1):
        await environment.sql(f"UPDATE pay_audit_entry SET seq = seq + 1 {WHERE}", **one, seq=seq)
    columns = "payment_id, actor, source, action, at, prev_hash, hash"
    await environment.sql(
        f"INSERT INTO pay_audit_entry (seq, {columns}) SELECT 3, {columns} FROM pay_audit_entry {WHERE}",
        **one,
        seq=2,
    )
    assert {(Flaw.EDITED, 3), (Flaw.BROKEN_LINK, 3)} <= set(await flaws(environment))


async def test_two_entries_swapped(environment: ServiceEnvironment) -> None:
    first, _ = await some(environment)
    for before, after in ((2, 99), (3, 2), (99, 3)):
        change = f"UPDATE pay_audit_entry SET seq = {after} {WHERE}"
        await environment.sql(change, id=first.view.payment_id, seq=before)
    assert {(Flaw.BROKEN_LINK, 2), (Flaw.EDITED, 2), (Flaw.EDITED, 3)} <= set(await flaws(environment))


async def test_a_row_changed_behind_the_audit(environment: ServiceEnvironment) -> None:
    first, second = await some(environment)
    await environment.sql(
        """UPDATE "Payment" SET status = 'COMPLETED' WHERE id = :id""", id=second.view.payment_id
    )
    await environment.sql(
        "UPDATE pay_payment_detail SET refunded_amount = 0 WHERE payment_id = :id",
        id=first.view.payment_id,
    )
    report = await verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.DISAGREES] * 2
    details = "; ".join(finding.detail for finding in report.findings)
    assert "PENDING, the payment is COMPLETED" in details
    assert "refunded by the audit trail: 20.00, by the payment: 0.00" in details


async def test_an_end_cut_off_shows_where_the_row_betrays_it(environment: ServiceEnvironment) -> None:
    first, second = await some(environment)
    last = max(e.seq for e in await environment.rows(AuditEntry) if e.payment_id == first.view.payment_id)
    await environment.sql(f"DELETE FROM pay_audit_entry {WHERE}", id=first.view.payment_id, seq=last)
    assert await flaws(environment) == [(Flaw.DISAGREES, last - 1)]  # it said that 20 went back
    last = max(e.seq for e in await environment.rows(AuditEntry) if e.payment_id == second.view.payment_id)
    await environment.sql(f"DELETE FROM pay_audit_entry {WHERE}", id=second.view.payment_id, seq=last)
    assert await flaws(environment, second) == [], (
        "'opened' changes nothing that is compared: a seal would show it"
    )


async def test_a_chain_or_a_payment_that_is_gone(environment: ServiceEnvironment) -> None:
    first, second = await some(environment)
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :id", id=first.view.payment_id)
    await environment.sql("DELETE FROM pay_payment_detail WHERE payment_id = :id", id=second.view.payment_id)
    assert sorted(await flaws(environment)) == [(Flaw.NO_CHAIN, None), (Flaw.NO_PAYMENT, None)]
    assert await flaws(environment, first) == [(Flaw.NO_CHAIN, None)]


async def test_content_that_cannot_be_read_hides_nothing(environment: ServiceEnvironment) -> None:
    if not environment.ctx.db.is_sqlite():
        pytest.skip("PostgreSQL itself keeps such text out of its columns")
    first, second = await some(environment)
    await environment.sql(f"UPDATE pay_audit_entry SET after = '{{' {WHERE}", id=first.view.payment_id, seq=1)
    await environment.sql(f"UPDATE pay_audit_entry SET at = 'x' {WHERE}", id=second.view.payment_id, seq=1)
    await environment.sql(f"UPDATE pay_audit_entry SET actor = 'x' {WHERE}", id=second.view.payment_id, seq=2)
    assert sorted(await flaws(environment), key=str) == [(Flaw.EDITED, 1), (Flaw.EDITED, 1), (Flaw.EDITED, 2)]


async def test_a_report_is_bounded(environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    await some(environment)
    await environment.sql("UPDATE pay_audit_entry SET actor = 'x'")
    monkeypatch.setattr(audit_verify, "MOST_FINDINGS", 2)
    report = await verify(environment.ctx)
    assert (len(report.findings), report.more) == (2, report.entries - 2)


async def test_a_chain_that_grows_meanwhile_is_read_on(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await some(environment)
    real, grown = audit_read.chain_end_rows, []

    async def while_it_reads(db: Any, ids: list[str]) -> Any:
        if not grown:
            grown.append(
                await refund(
                    environment.ctx, RefundCommand(first.view.payment_id, "injured", usd("10")), CLERK
                )
            )
        return await real(db, ids)

    monkeypatch.setattr(audit_read, "chain_end_rows", while_it_reads)
    assert await flaws(environment) == []


async def test_other_processes_judge_as_this_one(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await some(environment)
    third = await environment.start()
    fourth = await environment.start()
    await environment.start()
    await seal(environment.ctx, "owner")
    monkeypatch.setattr(processes, "RANGE", 1)
    assert await verify(environment.ctx, processes=2) == await verify(environment.ctx)
    assert (await verify(environment.ctx, processes=2)).is_sound
    for opened, change in (
        (first, "UPDATE pay_audit_entry SET actor = 'somebody'"),
        (second, "DELETE FROM pay_audit_entry"),
        (third, "UPDATE pay_audit_entry SET seq = 7"),
        (fourth, "UPDATE pay_audit_entry SET payment_id = ''"),
    ):
        await environment.sql(f"{change} {WHERE}", id=opened.view.payment_id, seq=1)
    report = await verify(environment.ctx, processes=2)
    assert report == await verify(environment.ctx)
    found = {(finding.payment_id, finding.flaw) for finding in report.findings}
    assert {(first.view.payment_id, Flaw.EDITED), (None, Flaw.SEAL)} <= found


async def test_what_a_killed_process_had_to_read_is_read_here(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(8):
        await environment.start()
    asked = []

    class Killed(ProcessPoolExecutor):
        def submit(self, *arguments: Any) -> Any:
            asked.append(arguments)
            if len(asked) == 3:
                for process in list(self._processes.values()):
                    process.kill()
                    process.join()
            return super().submit(*arguments)

    monkeypatch.setattr(processes, "RANGE", 1)
    monkeypatch.setattr(processes, "ProcessPoolExecutor", Killed)
    report = await verify(environment.ctx, processes=2)
    assert report == await verify(environment.ctx)
    assert (report.is_sound, len(asked) > 3) == (True, True)


@pytest.mark.parametrize(
    "note",
    ["Aida", 'a "quote"', "back\\slash", "tab\t", "Әйгерім", "\u2028", "a\nb", "", None, "12"],
)
async def test_the_hash_of_an_entrys_texts(environment: ServiceEnvironment, note: str | None) -> None:
    first, _ = await some(environment)
    after = {"b": [1, Decimal("50.00"), None], "a": {"ы": note, "z": True, "aa": -1}}
    record = chain.AuditRecord("desk", "person", "said", {}, after, "evt:1", None, note)
    async with environment.ctx.db.writing() as session:
        made = await chain.append(session, first.view.payment_id, record, environment.ctx.clock())
    entries = [link.entry async for link in audit_read.links(environment.ctx.db, first.view.payment_id)]
    assert [entry.digest for entry in entries] == [entry.hash for entry in entries]
    assert entries[-1].after == after
    assert entries[-1].hash == made.hash == chain.entry_hash(made)
