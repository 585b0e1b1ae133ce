"""Rows of many tables written at once: what is skipped, what is refused, and that all of it is one write."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.states import OutboxState
from tests.support.rows import NOW


def a_message(row_id: str, **more: Any) -> dict[str, Any]:
    fields = {"id": row_id, "topic": "alert.stuck", "dedup_key": row_id, "payload": {"n": 1}}
    return fields | {"state": OutboxState.WAITING, "next_attempt_at": NOW, "created_at": NOW} | more


def completed(*payment_ids: str) -> Write:
    rows = [{"id": payment_id, "status": PaymentStatus.COMPLETED} for payment_id in payment_ids]
    return Write(Action.UPDATE, Payment, rows)


async def test_several_tables_are_written_together(filled: PaymentDatabaseService) -> None:
    async with filled.writing() as session:
        session.add(OutboxMessage(**a_message("m1", payload={"n": "first"})))
    messages = [a_message("m2", dedup_key="m1"), a_message("m3")]
    async with filled.writing() as session:
        written = await write_all(
            session,
            [
                completed("pay1"),
                Write(Action.UPDATE, Participant, []),
                Write(Action.INSERT_ONCE, OutboxMessage, messages),
            ],
        )
    assert written == {Payment: 1, OutboxMessage: 1}, "m2 has the key of m1"
    async with filled.reading() as session:
        assert (await session.get_one(Payment, "pay1")).status is PaymentStatus.COMPLETED
        stored = (await session.exec(select(OutboxMessage))).all()
    assert {row.id: row.payload for row in stored} == {"m1": {"n": "first"}, "m3": {"n": 1}}


async def test_a_row_that_does_not_exist_is_not_passed_over(filled: PaymentDatabaseService) -> None:
    writes = [completed("pay1", "pay_gone"), Write(Action.INSERT, OutboxMessage, [a_message("m1")])]

    async def write() -> None:
        async with filled.writing() as session:
            await write_all(session, writes)

    with pytest.raises(RuntimeError, match="2 rows of Payment"):
        await write()
    async with filled.reading() as session:
        assert (await session.get_one(Payment, "pay1")).status is PaymentStatus.PENDING
        assert (await session.exec(select(OutboxMessage))).all() == []
