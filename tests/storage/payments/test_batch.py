"""Many payments in one transaction: who is left out, and what is written."""

from __future__ import annotations

import pytest
from sqlmodel import select

from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.storage.audit.chain import AuditRecord, first_entry
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments.batch import lock_payments
from tests.support.rows import NOW, a_detail, a_payment


async def taken(db: PaymentDatabaseService, *payment_ids: str) -> set[str]:
    async with db.writing() as session:
        return set((await lock_payments(session, payment_ids)).locked)


@pytest.mark.parametrize("table", [Payment, PaymentDetail, Participant])
async def test_rows_locked_elsewhere_are_left_out_of_a_batch(
    filled: PaymentDatabaseService, table: type[Row]
) -> None:
    """A detail, too: a watcher changes it without the payment's lock."""
    if filled.is_sqlite():
        pytest.skip("one writer at a time")
    async with filled.writing() as other:
        await other.exec(select(table).with_for_update())
        assert await taken(filled, "pay1") == set()
    assert await taken(filled, "pay1") == {"pay1"}


async def test_a_participant_with_two_payments_is_left_out_of_a_batch(
    filled: PaymentDatabaseService,
) -> None:
    async with filled.writing() as session:
        session.add(a_payment("pay2"))
        await session.flush()
        session.add(a_detail("pay2", provider_open=False, provider_ref="pi_2"))
    assert await taken(filled, "pay1", "pay2") == set(), "two in hand"
    assert await taken(filled, "pay1") == {"pay1"}, "the other one is over"
    async with filled.writing() as session:
        (await session.get_one(PaymentDetail, "pay2")).provider_open = True
    assert await taken(filled, "pay1") == set(), "the other one is open"


async def test_a_batch_is_found_by_keys_where_there_are_no_statistics(filled: PaymentDatabaseService) -> None:
    """As after a restore: PostgreSQL would guess that a hundred ids match half of a table, and read all of
    it for each batch."""
    if filled.is_sqlite():
        pytest.skip("it has no other plan")
    async with filled.writing() as session:
        session.add(AuditEntry(**first_entry("pay1", AuditRecord("desk", "person", "started"), NOW)))
        await session.flush()
        connection = await session.connection()
        for table, keys in _KEYS.items():
            copied = f"(jsonb_populate_record(one, jsonb_build_object({keys}))).*"
            await connection.exec_driver_sql(
                f"INSERT INTO {table} SELECT {copied} FROM {table} one, generate_series(1000, 9999) n"
            )
    async with filled.writing() as session:
        assert len((await lock_payments(session, [f"m{n}" for n in range(2000, 2100)])).locked) == 100
        scans = "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
        assert (await (await session.connection()).exec_driver_sql(scans)).all() == []


#: The columns that differ between the copies of a row.
_KEYS = {
    '"Participant"': "'id', 'm' || n",
    '"Payment"': "'id', 'm' || n",
    "pay_payment_detail": "'payment_id', 'm' || n, 'participant_id', 'm' || n",
    "pay_audit_entry": "'id', n, 'payment_id', 'm' || n",
}


async def test_a_batch_writes_only_changed_columns(filled: PaymentDatabaseService) -> None:
    async with filled.writing() as session:
        batch = await lock_payments(session, ["pay1"])
        locked = batch.locked["pay1"]
        locked.payment.status, locked.payment.google_pay_id = PaymentStatus.COMPLETED, "ch_1"
        locked.detail.is_late, locked.detail.completed_at = True, NOW
        await batch.write(session)
    async with filled.reading() as session:
        payment, detail = await session.get_one(Payment, "pay1"), await session.get_one(PaymentDetail, "pay1")
        assert (payment.status, payment.google_pay_id) == (PaymentStatus.COMPLETED, "ch_1")
        assert (payment.failure_reason, payment.method) == (None, PaymentMethod.KASPI_QR)
        assert (detail.is_late, detail.completed_at, detail.updated_at) == (True, NOW, NOW)
