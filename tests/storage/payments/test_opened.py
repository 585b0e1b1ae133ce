"""One payment that was opened at its provider, stored without the ORM: the same rules as for a batch."""

from __future__ import annotations

import pytest
from sqlmodel import select

from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit.chain import AuditRecord
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments.batch import lock_opened
from tests.support.rows import NOW, a_payment

FIRST, SECOND = AuditRecord("anna", "person", "first"), AuditRecord("anna", "person", "second")


async def append(db: PaymentDatabaseService, record: AuditRecord) -> None:
    async with db.writing() as session:
        await audit.append(session, "pay1", record, NOW)


async def test_changes_and_the_next_entry_of_the_chain_are_written(filled: PaymentDatabaseService) -> None:
    await append(filled, FIRST)
    async with filled.writing() as session:
        opened = await lock_opened(session, "pay1")
        assert opened is not None
        batch, locked = opened
        locked.detail.client_secret_enc, locked.detail.expires_at = "sealed", NOW
        await locked.append_audit_entry(session, SECOND, NOW)
        await batch.write(session)
    async with filled.reading() as session:
        detail = await session.get_one(PaymentDetail, "pay1")
        assert (detail.client_secret_enc, detail.expires_at) == ("sealed", NOW)
        first, second = await audit.entries(session, "pay1")
        assert (second.seq, second.prev_hash) == (2, first.hash)
        assert audit.is_whole(second)


@pytest.mark.parametrize("table", [Payment, PaymentDetail, Participant])
async def test_rows_locked_elsewhere_are_not_waited_for(
    filled: PaymentDatabaseService, table: type[Row]
) -> None:
    if filled.is_sqlite():
        pytest.skip("one writer at a time")
    async with filled.writing() as other, filled.writing() as session:
        await other.exec(select(table).with_for_update())
        assert await lock_opened(session, "pay1") is None


async def test_a_participant_with_another_payment_is_left_to_the_orm(filled: PaymentDatabaseService) -> None:
    """Only there is it known whether the other one is paid."""
    async with filled.writing() as session:
        session.add(a_payment("pay2"))
        await session.flush()
        (await session.get_one(Participant, "p1")).payment_id = "pay2"
    async with filled.writing() as session:
        assert await lock_opened(session, "pay1") is None


async def test_an_end_of_the_chain_that_is_out_of_date_forks_nothing(filled: PaymentDatabaseService) -> None:
    """Another transaction appends after the end was read and before the lock was taken."""
    if filled.is_sqlite():
        pytest.skip("one writer at a time")
    await append(filled, FIRST)

    async def store() -> None:
        async with filled.writing() as session:
            opened = await lock_opened(session, "pay1")
            assert opened is not None
            batch, locked = opened
            await append(filled, SECOND)
            await locked.append_audit_entry(session, SECOND, NOW)
            await batch.write(session)

    with pytest.raises(DatabaseBusy):
        await store()
    async with filled.reading() as session:
        assert [entry.action for entry in await audit.entries(session, "pay1")] == ["first", "second"]
