"""Metrics are counted on both databases, by index."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.maintenance.metrics import FailureKind, StatusChange, Tail, kind_of
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit.chain import AuditRecord
from procomp_pay.storage.reports import metrics as figures
from tests.support.environment import ServiceEnvironment


async def test_moves_are_counted_once_as_they_happen(environment: ServiceEnvironment) -> None:
    before = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    tail = Tail(environment.ctx)
    assert await tail.read() == [], "what was before is not counted"
    await environment.confirm(str(before.view.provider_ref), "pm_card_chargeDeclined")
    await environment.deliver()
    opened = await environment.start()
    assert await tail.read() == [
        StatusChange("APPLE_PAY", PaymentStatus.FAILED, failure=FailureKind.DECLINED),
        StatusChange("KASPI_QR", None),
    ]
    assert await tail.read() == []
    await environment.phone(opened)
    await environment.maintain(after=30)
    [change] = await tail.read()
    assert (change.method, change.status) == ("KASPI_QR", PaymentStatus.COMPLETED)
    assert change.seconds == pytest.approx(30, abs=10)
    assert await tail.read() == []


async def test_an_entry_that_is_committed_late_is_counted(environment: ServiceEnvironment) -> None:
    if environment.ctx.db.is_sqlite():
        pytest.skip("a SQLite file has one writer")
    one, other = [await environment.start() for _ in range(2)]
    tail = Tail(environment.ctx)
    await tail.read()
    paid = AuditRecord("x", "person", "x", before={"status": "PENDING"}, after={"status": "COMPLETED"})
    async with environment.ctx.db.writing() as late:
        await audit.append(late, one.view.payment_id, paid, environment.now())
        async with environment.ctx.db.writing() as early:
            await audit.append(early, other.view.payment_id, paid, environment.now())
        assert len(await tail.read()) == 1
    assert len(await tail.read()) == 1


async def test_long_trails_are_read_in_pages(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.services.maintenance.metrics._OVERLAP", 3)
    monkeypatch.setattr("procomp_pay.services.maintenance.metrics._PAGE", 5)
    opened = await environment.start()
    tail = Tail(environment.ctx)
    await tail.read()
    started = AuditRecord("x", "person", "started", after={"status": "PENDING"})
    async with environment.ctx.db.writing() as session:
        for _ in range(40):
            await audit.append(session, opened.view.payment_id, started, environment.now())
    total = 0
    for _ in range(10):
        total += len(await tail.read())
    assert total == 40


async def test_depths_and_standing(environment: ServiceEnvironment) -> None:
    await environment.start()
    await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    for event in await environment.events():
        await environment.receive(event)
    async with environment.ctx.db.reading() as session:
        depths = await figures.depths(session)
        oldest = await figures.oldest_event(session)
        by_status = await figures.payment_counts(session, environment.now() - timedelta(days=7))
        assert await figures.payment_counts(session, environment.now() + timedelta(days=1)) == {}
    assert (depths["inbox_pending"], depths["inbox_dead"], depths["payments_watched"]) == (1, 0, 2)
    assert oldest is not None
    assert by_status == {("KASPI_QR", "PENDING"): 1, ("APPLE_PAY", "PENDING"): 1}


async def test_every_queue_is_counted_by_its_own_index(environment: ServiceEnvironment) -> None:
    async with environment.ctx.db.reading() as session:
        connection = await session.connection()
        if not environment.ctx.db.is_sqlite():
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        for name, (column, condition) in figures._QUEUES.items():
            query = f"SELECT {column.key} FROM {column.class_.__tablename__} WHERE {condition} LIMIT 10"
            explain = "EXPLAIN QUERY PLAN " if environment.ctx.db.is_sqlite() else "EXPLAIN "
            plan = str((await connection.execute(text(explain + query))).all())
            assert "_idx" in plan, (name, plan)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Your card has insufficient funds. (insufficient_funds)", "insufficient_funds"),
        ("Your card was declined. (generic_decline)", "declined"),
        ("We cannot authenticate your card (payment_intent_authentication_failure)", "authentication"),
        ("Your card has expired. (expired_card)", "expired_card"),
        ("Kaspi: cancelled by the customer or not confirmed", "not_confirmed"),
        ("Stripe refused: Amount must be no more than", "provider_refused"),
        ("whatever else", "other"),
        (None, "other"),
    ],
)  # fmt: skip
def test_reasons_become_one_of_a_few_words(reason: Any, kind: str) -> None:
    assert kind_of(reason) == kind
