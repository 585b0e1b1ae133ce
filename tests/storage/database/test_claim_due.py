"""Due rows are claimed through the index of waiting rows, also by a prepared statement."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.states import Channel
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.webhooks import inbox as queues

NOW = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
CLAIMS: dict[str, Callable[[AsyncSession], Awaitable[Any]]] = {
    "pay_webhook_event_pending_idx": lambda session: queues.claim_many(session, NOW, limit=50),
    "pay_outbox_waiting_idx": lambda session: outbox.claim_messages(session, NOW, limit=50),
    "pay_delivery_waiting_idx": lambda session: outbox.claim_deliveries(
        session, Destination.PARTICIPANT_MAIL, NOW, lease_s=60, limit=50
    ),
}


@pytest.mark.parametrize("index", CLAIMS)
async def test_claiming_a_batch_does_not_read_the_whole_backlog(
    db: PaymentDatabaseService, index: str
) -> None:
    """With a parameter in place of the word that the index is for, PostgreSQL's prepared statement reads and
    sorts all that waits for each batch, and SQLite does at once."""
    sent = _statements(db)
    async with db.writing() as session:
        await CLAIMS[index](session)
        [claim] = [statement for statement in sent if "LIMIT" in statement]
        if db.is_sqlite():
            shown = await (await session.connection()).exec_driver_sql(
                f"EXPLAIN QUERY PLAN {claim}", tuple(NOW.isoformat(" ") for _ in range(claim.count("?")))
            )
        else:
            numbers: dict[str, int] = {}
            numbered = re.sub(
                r"%\((\w+)\)s", lambda name: f"${numbers.setdefault(name[1], len(numbers) + 1)}", claim
            )
            await session.exec(text("SET LOCAL enable_seqscan = off"))
            shown = await (await session.connection()).exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {numbered}")
        plan = " ".join(str(row) for row in shown.all())
    assert index in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


async def test_polling_asks_once_where_fewer_payments_are_due_than_it_takes(
    db: PaymentDatabaseService,
) -> None:
    sent = _statements(db)
    async with db.writing() as session:
        assert await payments.claim_due(session, NOW, Channel, lease_s=60, limit=9) == []
    assert len([statement for statement in sent if "LIMIT" in statement]) == 1


def _statements(db: PaymentDatabaseService) -> list[str]:
    """Return the list to which each statement is added from now on."""
    sent: list[str] = []
    engine: Any = db._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    return sent
