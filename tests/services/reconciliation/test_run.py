"""``reconcile`` against a real sandbox finds each kind of mismatch, and repairs it or records it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.sandbox.stripe import objects
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.database import connection_queue
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.schema import METADATA
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_payments import Kaspi
from tests.support.reconciliation import (
    another_amount,
    another_currency,
    at_kaspi,
    disputed,
    gone_at_stripe,
    kinds,
    late,
    missed_webhook,
    never_paid,
    not_activated,
    not_ours,
    open_rows,
    paid,
    paid_by_kaspi,
    paid_twice,
    participant_gone,
    refund_gone,
    refunded_in_dashboard,
    run,
    settled_by_another,
    stripe,
)


async def reconciled_entries(environment: ServiceEnvironment, opened: views.Opening) -> list[str]:
    rows: list[AuditEntry] = await environment.rows(AuditEntry)
    return [e.action for e in rows if e.payment_id == opened.view.payment_id and e.source == "reconcile"]


async def everything_clean(environment: ServiceEnvironment) -> list[views.Opening]:
    """Create payments that are paid, refunded in part and in full, open, cancelled, declined: no mismatch."""
    made = [await paid(environment) for _ in range(4)]
    await refund(environment.ctx, RefundCommand(made[1].view.payment_id, "injured"), CLERK)
    part = RefundCommand(
        made[2].view.payment_id, "half", money=replace(made[2].view.charged, amount=Decimal(20))
    )
    await refund(environment.ctx, part, CLERK)
    made.append(await environment.start(method="google_pay"))
    declined = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(declined.view.provider_ref), "pm_card_chargeDeclined")
    made.append(declined)
    await environment.deliver()
    return made


async def test_a_clean_run_finds_nothing(environment: ServiceEnvironment) -> None:
    await everything_clean(environment)
    kaspi = await paid_by_kaspi(environment)
    await environment.start()
    for provider in ("stripe", "kaspi"):
        report = await run(environment, provider)
        assert (report.found, report.still_open, report.cut) == (0, 0, None), report.listed
        assert report.compared > 0
    assert not await reconciled_entries(environment, kaspi)
    assert await environment.rows(Discrepancy) == []
    assert {each.state for each in await environment.rows(ReconciliationRun)} == {"done"}


# -- each kind of mismatch, made with Stripe


REPAIRED = {
    missed_webhook: "STATUS_MISMATCH",
    refunded_in_dashboard: "REFUND_MISMATCH",
    not_activated: "PARTICIPANT_MISMATCH",
    disputed: "STATUS_MISMATCH",
}
RECORDED = {
    not_ours: "MISSING_LOCALLY",
    gone_at_stripe: "MISSING_AT_PROVIDER",
    never_paid: "STATUS_MISMATCH",
    another_amount: "AMOUNT_MISMATCH",
    another_currency: "CURRENCY_MISMATCH",
    refund_gone: "REFUND_MISMATCH",
    paid_twice: "DUPLICATE_PAYMENT",
    settled_by_another: "DUPLICATE_PAYMENT",
    participant_gone: "PARTICIPANT_MISMATCH",
}


@pytest.mark.parametrize("make_mismatch", REPAIRED, ids=lambda maker: maker.__name__)
async def test_safe_repairs_are_made_once(environment: ServiceEnvironment, make_mismatch: Any) -> None:
    await paid(environment)
    opened = await make_mismatch(environment)
    dry = await run(environment, dry_run=True)
    assert kinds(dry) == {(REPAIRED[make_mismatch], "would repair"): 1}
    report = await run(environment)
    assert kinds(report) == {(REPAIRED[make_mismatch], "repaired"): 1}
    assert report.still_open == 0
    assert len(await reconciled_entries(environment, opened)) == 1
    if make_mismatch is not disputed:
        assert (
            await environment.read_participant(opened.view.participant_id)
        ).status is ParticipantStatus.PAID
    again = await run(environment)
    assert (again.found, again.still_open) == (0, 0)
    assert len(await reconciled_entries(environment, opened)) == 1
    await environment.deliver()  # the missed webhook comes after all
    assert len(await reconciled_entries(environment, opened)) == 1


@pytest.mark.parametrize("make_mismatch", RECORDED, ids=lambda maker: maker.__name__)
async def test_a_mismatch_for_manual_review_is_recorded_once(
    environment: ServiceEnvironment, make_mismatch: Any
) -> None:
    await paid(environment)
    await make_mismatch(environment)
    dry = await run(environment, dry_run=True)
    assert kinds(dry) == {(RECORDED[make_mismatch], "would open"): 1}
    assert await environment.rows(Discrepancy) == []
    report = await run(environment)
    assert kinds(report) == {(RECORDED[make_mismatch], "opened"): 1}
    assert report.still_open == 1
    [row] = await open_rows(environment)
    again = await run(environment)
    assert kinds(again) == {(RECORDED[make_mismatch], "again"): 1}
    [same] = await open_rows(environment)
    assert same.id == row.id
    assert same.last_seen_at > row.last_seen_at
    assert same.provider == "stripe"


async def test_a_late_payment_is_recorded_for_manual_review(environment: ServiceEnvironment) -> None:
    opened = await late(environment)
    report = await run(environment)
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1, ("LATE_PAYMENT", "again"): 1}
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    assert kinds(await run(environment)) == {("LATE_PAYMENT", "again"): 1}
    assert [each.kind for each in await open_rows(environment)] == ["LATE_PAYMENT"]


async def test_all_mismatches_in_one_run(environment: ServiceEnvironment) -> None:
    await everything_clean(environment)
    for make_mismatch in (*REPAIRED, *RECORDED):
        await make_mismatch(environment)
    report = await run(environment)
    expected = Counter((kind, "repaired") for kind in REPAIRED.values())
    expected += Counter((kind, "opened") for kind in RECORDED.values())
    assert kinds(report) == expected
    again = await run(environment)
    assert kinds(again) == Counter((kind, "again") for kind in RECORDED.values())


async def test_five_connections_are_enough_for_everything_at_a_time(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/operations.md promises it for PgBouncer's pool, which all processes share."""
    await everything_clean(environment)
    for make_mismatch in (*REPAIRED, *RECORDED):
        await make_mismatch(environment)
    monkeypatch.setattr(connection_queue, "CONNECTIONS", 5)
    few = PaymentDatabaseService(environment.ctx.db.url)
    environment.ctx = replace(environment.ctx, db=few)
    async with only_process(few, "maintain"), only_process(few, "archive"), only_process(few, "reconcile"):
        assert (await run(environment)).cut is None
        assert (await one_pass(environment.ctx)).failures == []
    await few.dispose()


# -- no false mismatch


def dump(environment: ServiceEnvironment) -> Any:
    """Return every row of every table."""

    async def read() -> dict[str, list[Any]]:
        found = {}
        async with environment.ctx.db.reading() as session:
            for name in sorted(METADATA.tables):
                rows = await (await session.connection()).execute(METADATA.tables[name].select())
                found[name] = sorted(map(repr, rows.all()))
        return found

    return read()


async def test_a_dry_run_changes_nothing_at_all(environment: ServiceEnvironment) -> None:
    await everything_clean(environment)
    await paid_by_kaspi(environment)
    for make_mismatch in (*REPAIRED, *RECORDED):
        await make_mismatch(environment)
    before = await dump(environment)
    for provider in ("stripe", "kaspi"):
        await run(environment, provider, dry_run=True)
    assert await dump(environment) == before


async def test_a_provider_that_fails_halfway(environment: ServiceEnvironment) -> None:
    """A window that was read in part reports nothing as missing; what was read is repaired all the same."""
    await gone_at_stripe(environment)
    await missed_webhook(environment)
    await environment.fault("/v1/refunds", "status", status=503, method="GET", times=50)
    report = await run(environment)
    assert report.cut is not None
    assert "after 0 pages (0 refunds)" in report.cut
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1}
    await environment.no_faults()
    await environment.fault("/v1/disputes", "status", status=503, method="GET", times=50)
    report = await run(environment)
    assert kinds(report) == {}
    assert report.cut is not None
    assert {each.state for each in await environment.rows(ReconciliationRun)} == {"incomplete"}
    await environment.no_faults()
    assert kinds(await run(environment)) == {("MISSING_AT_PROVIDER", "opened"): 1}


async def test_a_failed_page_is_reported_with_the_progress_so_far(environment: ServiceEnvironment) -> None:
    for _ in range(205):
        core = stripe(environment)
        core.put("payment_intents", {**objects.payment_intent(core, {"amount": 5000, "currency": "usd"})})
    await environment.fault("/v1/payment_intents", "status", status=503, method="GET", skip=2, times=50)
    report = await run(environment)
    assert report.cut is not None
    assert report.cut.endswith("after 2 pages (200 payment intents)")


async def test_a_payment_settled_during_the_run_is_left_for_the_next_run(
    environment: ServiceEnvironment,
) -> None:
    """A webhook settles a payment after Stripe's page was read: no mismatch."""
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    paid_then: list[str] = []

    class Slow:
        """The real service; a payment is settled between two of its pages."""

        def __getattr__(self, name: str) -> Any:
            return getattr(environment.ctx.providers.of(Channel.STRIPE_INTENT), name)

        async def pages(self, kind: str, params: dict[str, Any]) -> Any:
            real: Any = environment.ctx.providers.of(Channel.STRIPE_INTENT)
            async for page in real.pages(kind, params):
                yield page
            if kind == "payment_intents":
                await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
                await environment.deliver()
                paid_then.append("paid")

    class Others:
        def of(self, channel: Channel) -> Any:
            return Slow()

    environment.later(2)
    ctx = replace(environment.ctx, providers=Others())
    report = await reconcile(ctx, ReconcileRequest("stripe"), CLERK)
    assert paid_then == ["paid"]
    assert (report.found, report.changed_since_read) == (0, 1)
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    assert (await run(environment)).found == 0


async def test_a_resolved_mismatch_closes_by_itself_and_opens_again(environment: ServiceEnvironment) -> None:
    opened = await participant_gone(environment)
    assert kinds(await run(environment)) == {("PARTICIPANT_MISMATCH", "opened"): 1}
    heal = """UPDATE "Participant" SET status = 'PAID' WHERE id = :id"""
    await environment.sql(heal, id=opened.view.participant_id)
    report = await run(environment)
    assert (report.found, report.closed, report.still_open) == (0, 1, 0)
    [row] = await environment.rows(Discrepancy)
    assert (row.resolution, row.resolved_by) == ("gone", "aigerim")
    assert row.note
    await environment.sql(heal.replace("PAID", "CANCELLED"), id=opened.view.participant_id)
    assert kinds(await run(environment)) == {("PARTICIPANT_MISMATCH", "reopened"): 1}
    assert len(await environment.rows(Discrepancy)) == 1


async def test_fees_are_stored_once(environment: ServiceEnvironment) -> None:
    opened = await refunded_in_dashboard(environment)
    for _ in range(2):
        await run(environment)
    rows: list[ProviderMovement] = await environment.rows(ProviderMovement)
    amounts = {each.kind.value: (each.amount, each.fee, each.net, each.currency) for each in rows}
    assert amounts == {
        "payment": (Decimal("50.00"), Decimal("1.75"), Decimal("48.25"), "USD"),
        "refund": (Decimal("-20.00"), Decimal("0.00"), Decimal("-20.00"), "USD"),
    }
    assert {each.payment_id for each in rows} == {opened.view.payment_id}


async def test_a_currency_that_nobody_accepts(environment: ServiceEnvironment) -> None:
    opened, other = [await paid(environment) for _ in range(2)]
    intents = stripe(environment).tables["payment_intents"]
    async with environment.ctx.db.reading() as session:
        row = await session.get_one(Payment, opened.view.payment_id)
    intents[row.stripe_payment_id]["currency"] = "gbp"
    stripe(environment).tables["sessions"][opened.view.provider_ref]["currency"] = "gbp"
    for became in ("opened", "again"):
        assert kinds(await run(environment)) == {("CURRENCY_MISMATCH", became): 1}
    assert await environment.status(other) is PaymentStatus.COMPLETED
    [open_row] = await open_rows(environment)
    with pytest.raises(ManualReviewRequired):
        await resolve(environment.ctx, open_row.id, How.FIX, "look again", CLERK)


async def test_a_window_that_makes_no_sense(environment: ServiceEnvironment) -> None:
    now = environment.now()
    with pytest.raises(Refused, match="future"):
        await run(environment, since=now + timedelta(days=1))
    with pytest.raises(Refused, match="before it begins"):
        await run(environment, since=now - timedelta(days=1), until=now - timedelta(days=2))


async def test_a_killed_run_is_recorded_and_its_window_is_read_again(environment: ServiceEnvironment) -> None:
    old = environment.now() - timedelta(days=90)
    async with environment.ctx.db.writing() as session:
        session.add(
            ReconciliationRun(
                id="killed", provider="stripe", window_from=old, window_until=old, state="running",
                source="api", started_at=old, started_by="cron", counts={},
            )
        )  # fmt: skip
    report = await run(environment)
    assert report.interrupted == [old]
    assert report.since == old
    states = {each.id: each.state for each in await environment.rows(ReconciliationRun)}
    assert states.pop("killed") == "interrupted"
    assert list(states.values()) == ["done"]
    assert (await run(environment)).interrupted == []


# -- Kaspi


async def test_a_late_kaspi_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.maintain(after=4000)
    await environment.maintain(after=4000)
    assert await environment.status(opened) is PaymentStatus.EXPIRED
    await at_kaspi(environment, opened, "late-process", {})
    report = await run(environment, "kaspi")
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1, ("LATE_PAYMENT", "again"): 1}
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    assert any("basic scheme" in each for each in report.notes)
    assert kinds(await run(environment, "kaspi")) == {("LATE_PAYMENT", "again"): 1}


async def test_a_stuck_kaspi_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await at_kaspi(environment, opened, "status", {"Status": "Wait"})
    environment.later(3600)
    assert kinds(await run(environment, "kaspi")) == {
        ("STUCK", "repaired"): 1
    }  # scanned at Kaspi: it gets time
    assert await environment.status(opened) is PaymentStatus.PROCESSING
    environment.later(3600)
    report = await run(environment, "kaspi")
    assert kinds(report) == {("STUCK", "again"): 1}  # settlement has opened it a moment before
    assert kinds(await run(environment, "kaspi")) == {("STUCK", "again"): 1}
    [row] = await open_rows(environment)
    assert row.kind == "STUCK"
    await at_kaspi(environment, opened, "status", {"Status": None})
    environment.later(3600)
    report = await run(environment, "kaspi")
    assert report.still_open == 0
    assert await environment.status(opened) is PaymentStatus.EXPIRED


async def test_a_cashiers_refund_in_the_kaspi_app(environment: ServiceEnvironment) -> None:
    opened = await Kaspi(environment).paid()  # scheme enhanced
    await at_kaspi(environment, opened, "cashier-refund", {"Amount": 4000})
    report = await run(environment, "kaspi")
    assert kinds(report) == {("REFUND_MISMATCH", "repaired"): 1}
    assert (await environment.view(opened)).refunded.amount == Decimal("4000.00")
    assert (await run(environment, "kaspi")).found == 0


async def test_kaspi_fails_halfway(environment: ServiceEnvironment) -> None:
    for _ in range(3):
        await paid_by_kaspi(environment)
    await environment.fault("/r1/", "status", status=503, times=50, skip=2)
    report = await run(environment, "kaspi")
    assert report.cut is not None
    assert report.found == 0
