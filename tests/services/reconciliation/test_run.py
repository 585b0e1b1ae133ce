"""``reconcile`` against a real sandbox: each kind of fault is planted, found, named, mended or kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.sandbox.stripe import objects
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import AuditEntry
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.queues import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.schema import METADATA
from procomp_pay.storage.models.settlements import Settlement
from tests.services.conftest import CLERK, World
from tests.services.refunds.test_create import Kaspi


async def run(world: World, provider: str = "stripe", **more: Any) -> Report:
    world.later(2)  # what was done a moment ago is not taken for a move under way
    return await reconcile(world.ctx, ReconcileRequest(provider, **more), CLERK)


def kinds(report: Report) -> Counter[tuple[str, str]]:
    return Counter((each.finding.kind.value, each.became) for each in report.told)


async def paid(world: World) -> views.Opening:
    """Paid by Apple Pay, and known to us."""
    opened = await world.start(await world.participant(), "apple_pay")
    await world.pay_page(opened)
    for event in await world.events():  # of this one alone: others' news may be missed on purpose
        if (event["data"]["object"].get("metadata") or {}).get("payment_id") == opened.view.payment_id:
            await world.receive(event)
    await world.maintain()
    assert await world.status(opened) is PaymentStatus.COMPLETED
    return opened


async def paid_by_kaspi(world: World) -> views.Opening:
    opened = await world.start(await world.participant())
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is PaymentStatus.COMPLETED
    return opened


async def change(world: World, statement: str, **values: Any) -> None:
    """Plant a fault in the database behind everybody's back."""
    async with world.ctx.db.writing() as session:
        await (await session.connection()).execute(text(statement), values)


async def intent_of(world: World, opened: views.Opening) -> str:
    async with world.ctx.db.reading() as session:
        payment = await session.get(Payment, opened.view.payment_id)
    assert payment is not None
    assert payment.stripe_payment_id is not None
    return payment.stripe_payment_id


async def open_rows(world: World) -> list[Discrepancy]:
    return [each for each in await world.rows(Discrepancy) if each.state.value == "open"]


async def reconciled_entries(world: World, opened: views.Opening) -> list[str]:
    rows: list[AuditEntry] = await world.rows(AuditEntry)
    return [e.action for e in rows if e.payment_id == opened.view.payment_id and e.source == "reconcile"]


async def everything_clean(world: World) -> list[views.Opening]:
    """Paid, refunded in part and in full, open, cancelled, declined: nothing of it is a difference."""
    made = [await paid(world) for _ in range(4)]
    await refund(world.ctx, RefundCommand(made[1].view.payment_id, "injured"), CLERK)
    part = RefundCommand(
        made[2].view.payment_id, "half", money=replace(made[2].view.charged, amount=Decimal(20))
    )
    await refund(world.ctx, part, CLERK)
    made.append(await world.start(await world.participant(), "google_pay"))
    declined = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(declined.view.provider_ref), "pm_card_chargeDeclined")
    made.append(declined)
    await world.deliver()
    return made


async def test_a_clean_run_finds_nothing(world: World) -> None:
    await everything_clean(world)
    kaspi = await paid_by_kaspi(world)
    await world.start(await world.participant())
    for provider in ("stripe", "kaspi"):
        report = await run(world, provider)
        assert (report.found, report.still_open, report.cut) == (0, 0, None), report.told
        assert report.compared > 0
    assert not await reconciled_entries(world, kaspi)
    assert await world.rows(Discrepancy) == []
    assert {each.state for each in await world.rows(ReconciliationRun)} == {"done"}


# -- each kind of fault, planted with Stripe


def stripe(world: World) -> Any:
    """The sandbox's books, to tamper with."""
    return world.sandbox.providers["stripe"].core  # type: ignore[attr-defined]


async def missed_webhook(world: World) -> views.Opening:
    opened = await world.start(await world.participant(), "apple_pay")
    await world.pay_page(opened)
    return opened


async def unknown_intent(world: World, **metadata: str) -> str:
    data = {
        "amount": "5000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
        "return_url": "https://app.example.com/paid",
    } | {f"metadata[{name}]": value for name, value in metadata.items()}  # fmt: skip
    answer = await world.http.post("/v1/payment_intents", data=data, headers=world._stripe_auth())
    assert answer.json()["status"] == "succeeded"
    return str(answer.json()["id"])


async def not_ours(world: World) -> None:
    await unknown_intent(world)


async def gone_at_stripe(world: World) -> views.Opening:
    opened = await paid(world)
    del stripe(world).tables["payment_intents"][await intent_of(world, opened)]
    del stripe(world).tables["sessions"][opened.view.provider_ref]
    return opened


async def never_paid(world: World) -> views.Opening:
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    await change(
        world, """UPDATE "Payment" SET status = 'COMPLETED' WHERE id = :id""", id=opened.view.payment_id
    )
    await change(
        world,
        """UPDATE "Participant" SET status = 'PAID', "paymentId" = :id WHERE id = :who""",
        id=opened.view.payment_id,
        who=opened.view.participant_id,
    )
    return opened


async def another_amount(world: World) -> views.Opening:
    opened = await paid(world)
    cents = await amount_in_sql(world, "49.00")
    for table, column, key in (
        ('"Payment"', "amount", "id"),
        ("pay_payment_detail", "charged_amount", "payment_id"),
    ):
        await change(
            world, f"UPDATE {table} SET {column} = {cents} WHERE {key} = :id", id=opened.view.payment_id
        )
    return opened


async def amount_in_sql(world: World, amount: str) -> str:
    return str(int(Decimal(amount) * 100)) if world.ctx.db.is_sqlite() else amount


async def another_currency(world: World) -> views.Opening:
    opened = await paid(world)
    for table, column, key in (
        ('"Payment"', "currency", "id"),
        ("pay_payment_detail", "charged_currency", "payment_id"),
    ):
        await change(
            world, f"UPDATE {table} SET {column} = 'EUR' WHERE {key} = :id", id=opened.view.payment_id
        )
    return opened


async def refunded_in_dashboard(world: World) -> views.Opening:
    opened = await paid(world)
    data = {"payment_intent": await intent_of(world, opened), "amount": "2000"}
    answer = await world.http.post("/v1/refunds", data=data, headers=world._stripe_auth())
    assert answer.status_code == 200
    return opened


async def refund_gone(world: World) -> views.Opening:
    opened = await paid(world)
    await refund(world.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    intent, refunds = await intent_of(world, opened), stripe(world).tables["refunds"]
    for gone in [each["id"] for each in refunds.values() if each["payment_intent"] == intent]:
        del refunds[gone]
    return opened


async def paid_twice(world: World) -> views.Opening:
    opened = await paid(world)
    await unknown_intent(world, payment_id=opened.view.payment_id)
    return opened


async def late(world: World) -> views.Opening:
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await change(
        world, """UPDATE "Payment" SET status = 'EXPIRED' WHERE id = :id""", id=opened.view.payment_id
    )
    await change(
        world,
        "UPDATE pay_payment_detail SET provider_open = :no, next_poll_at = NULL WHERE payment_id = :id",
        id=opened.view.payment_id,
        no=False,
    )
    return opened


async def not_activated(world: World) -> views.Opening:
    opened = await paid(world)
    await change(
        world,
        """UPDATE "Participant" SET status = 'REGISTERED', "paymentId" = NULL WHERE id = :id""",
        id=opened.view.participant_id,
    )
    return opened


async def participant_gone(world: World) -> views.Opening:
    opened = await paid(world)
    await change(
        world,
        """UPDATE "Participant" SET status = 'CANCELLED' WHERE id = :id""",
        id=opened.view.participant_id,
    )
    return opened


async def settled_by_another(world: World) -> views.Opening:
    first, second = await paid(world), await paid(world)
    await change(
        world,
        """UPDATE "Participant" SET "paymentId" = NULL, status = 'REGISTERED' WHERE id = :id""",
        id=second.view.participant_id,
    )
    await change(
        world,
        """UPDATE pay_payment_detail SET participant_id = :who WHERE payment_id = :id""",
        id=second.view.payment_id,
        who=first.view.participant_id,
    )
    return second


async def disputed(world: World) -> views.Opening:
    opened = await paid(world)
    answer = await world.http.post(
        f"/_sandbox/stripe/payment_intents/{await intent_of(world, opened)}/dispute", json={}
    )
    assert answer.status_code == 200
    return opened


MENDED = {
    missed_webhook: "STATUS_MISMATCH",
    refunded_in_dashboard: "REFUND_MISMATCH",
    not_activated: "PARTICIPANT_MISMATCH",
    disputed: "STATUS_MISMATCH",
}
KEPT = {
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


@pytest.mark.parametrize("plant", MENDED, ids=lambda each: each.__name__)
async def test_what_is_safe_is_mended_once(world: World, plant: Any) -> None:
    await paid(world)
    opened = await plant(world)
    dry = await run(world, dry_run=True)
    assert kinds(dry) == {(MENDED[plant], "would repair"): 1}
    report = await run(world)
    assert kinds(report) == {(MENDED[plant], "repaired"): 1}
    assert report.still_open == 0
    assert len(await reconciled_entries(world, opened)) == 1
    if plant is not disputed:
        assert (await world.who(opened.view.participant_id)).status is ParticipantStatus.PAID
    again = await run(world)
    assert (again.found, again.still_open) == (0, 0)
    assert len(await reconciled_entries(world, opened)) == 1
    await world.deliver()  # the webhook that was missed comes after all
    assert len(await reconciled_entries(world, opened)) == 1


@pytest.mark.parametrize("plant", KEPT, ids=lambda each: each.__name__)
async def test_what_needs_a_person_is_kept_once(world: World, plant: Any) -> None:
    await paid(world)
    await plant(world)
    dry = await run(world, dry_run=True)
    assert kinds(dry) == {(KEPT[plant], "would open"): 1}
    assert await world.rows(Discrepancy) == []
    report = await run(world)
    assert kinds(report) == {(KEPT[plant], "opened"): 1}
    assert report.still_open == 1
    [row] = await open_rows(world)
    again = await run(world)
    assert kinds(again) == {(KEPT[plant], "again"): 1}
    [same] = await open_rows(world)
    assert same.id == row.id
    assert same.last_seen_at > row.last_seen_at
    assert same.provider == "stripe"


async def test_a_late_payment_is_taken_and_left_to_a_person(world: World) -> None:
    opened = await late(world)
    report = await run(world)
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1, ("LATE_PAYMENT", "again"): 1}
    assert await world.status(opened) is PaymentStatus.COMPLETED
    assert kinds(await run(world)) == {("LATE_PAYMENT", "again"): 1}
    assert [each.kind for each in await open_rows(world)] == ["LATE_PAYMENT"]


async def test_all_mixed(world: World) -> None:
    await everything_clean(world)
    for plant in (*MENDED, *KEPT):
        await plant(world)
    report = await run(world)
    expected = Counter((kind, "repaired") for kind in MENDED.values())
    expected += Counter((kind, "opened") for kind in KEPT.values())
    assert kinds(report) == expected
    again = await run(world)
    assert kinds(again) == Counter((kind, "again") for kind in KEPT.values())


# -- what must never be said falsely


def dump(world: World) -> Any:
    """Every row of every table."""

    async def read() -> dict[str, list[Any]]:
        found = {}
        async with world.ctx.db.reading() as session:
            for name in sorted(METADATA.tables):
                rows = await (await session.connection()).execute(METADATA.tables[name].select())
                found[name] = sorted(map(repr, rows.all()))
        return found

    return read()


async def test_a_dry_run_changes_nothing_at_all(world: World) -> None:
    await everything_clean(world)
    await paid_by_kaspi(world)
    for plant in (*MENDED, *KEPT):
        await plant(world)
    before = await dump(world)
    for provider in ("stripe", "kaspi"):
        await run(world, provider, dry_run=True)
    assert await dump(world) == before


async def test_a_provider_that_dies_half_way(world: World) -> None:
    """No half-read window says that something is missing; what was read is mended all the same."""
    await gone_at_stripe(world)
    await missed_webhook(world)
    await world.fault("/v1/refunds", "status", status=503, method="GET", times=50)
    report = await run(world)
    assert report.cut is not None
    assert "after 0 pages (0 refunds)" in report.cut
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1}
    await world.no_faults()
    await world.fault("/v1/disputes", "status", status=503, method="GET", times=50)
    report = await run(world)
    assert kinds(report) == {}
    assert report.cut is not None
    assert {each.state for each in await world.rows(ReconciliationRun)} == {"incomplete"}
    await world.no_faults()
    assert kinds(await run(world)) == {("MISSING_AT_PROVIDER", "opened"): 1}


async def test_a_page_that_fails_is_told_with_how_far_it_got(world: World) -> None:
    for _ in range(205):
        core = stripe(world)
        core.put("payment_intents", {**objects.payment_intent(core, {"amount": 5000, "currency": "usd"})})
    await world.fault("/v1/payment_intents", "status", status=503, method="GET", skip=2, times=50)
    report = await run(world)
    assert report.cut is not None
    assert report.cut.endswith("after 2 pages (200 payment intents)")


async def test_what_moves_meanwhile_is_left_for_the_next_run(world: World) -> None:
    """A webhook settles a payment between Stripe's page and our books: no difference, and no harm."""
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    said: list[str] = []

    class Slow:
        """The real service; between its pages somebody pays and the webhook comes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.ctx.providers.of(Channel.STRIPE_INTENT), name)

        async def pages(self, kind: str, params: dict[str, Any]) -> Any:
            real: Any = world.ctx.providers.of(Channel.STRIPE_INTENT)
            async for page in real.pages(kind, params):
                yield page
            if kind == "payment_intents":
                await world.confirm(str(opened.view.provider_ref), "pm_card_visa")
                await world.deliver()
                said.append("paid")

    class Others:
        def of(self, channel: Channel) -> Any:
            return Slow()

    world.later(2)
    ctx = replace(world.ctx, providers=Others())
    report = await reconcile(ctx, ReconcileRequest("stripe"), CLERK)
    assert said == ["paid"]
    assert (report.found, report.changed_since_read) == (0, 1)
    assert await world.status(opened) is PaymentStatus.COMPLETED
    assert (await run(world)).found == 0


async def test_what_is_gone_closes_by_itself_and_opens_again(world: World) -> None:
    opened = await participant_gone(world)
    assert kinds(await run(world)) == {("PARTICIPANT_MISMATCH", "opened"): 1}
    heal = """UPDATE "Participant" SET status = 'PAID' WHERE id = :id"""
    await change(world, heal, id=opened.view.participant_id)
    report = await run(world)
    assert (report.found, report.closed, report.still_open) == (0, 1, 0)
    [row] = await world.rows(Discrepancy)
    assert (row.resolution, row.resolved_by) == ("gone", "aigerim")
    assert row.note
    await change(world, heal.replace("PAID", "CANCELLED"), id=opened.view.participant_id)
    assert kinds(await run(world)) == {("PARTICIPANT_MISMATCH", "reopened"): 1}
    assert len(await world.rows(Discrepancy)) == 1


async def test_fees_are_kept_once(world: World) -> None:
    opened = await refunded_in_dashboard(world)
    for _ in range(2):
        await run(world)
    rows: list[Settlement] = await world.rows(Settlement)
    told = {each.kind.value: (each.amount, each.fee, each.net, each.currency) for each in rows}
    assert told == {
        "payment": (Decimal("50.00"), Decimal("1.75"), Decimal("48.25"), "USD"),
        "refund": (Decimal("-20.00"), Decimal("0.00"), Decimal("-20.00"), "USD"),
    }
    assert {each.payment_id for each in rows} == {opened.view.payment_id}


async def test_a_window_that_makes_no_sense(world: World) -> None:
    now = world.now()
    with pytest.raises(Refused, match="future"):
        await run(world, since=now + timedelta(days=1))
    with pytest.raises(Refused, match="before it begins"):
        await run(world, since=now - timedelta(days=1), until=now - timedelta(days=2))


async def test_a_killed_run_is_told_and_its_window_taken_over(world: World) -> None:
    old = world.now() - timedelta(days=90)
    async with world.ctx.db.writing() as session:
        session.add(
            ReconciliationRun(
                id="killed", provider="stripe", window_from=old, window_until=old, state="running",
                source="api", started_at=old, started_by="cron", counts={},
            )
        )  # fmt: skip
    report = await run(world)
    assert report.interrupted == [old]
    assert report.since == old
    states = {each.id: each.state for each in await world.rows(ReconciliationRun)}
    assert states.pop("killed") == "interrupted"
    assert list(states.values()) == ["done"]
    assert (await run(world)).interrupted == []


# -- Kaspi


async def at_kaspi(world: World, opened: views.Opening, what: str, body: Any) -> None:
    answer = await world.http.post(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}/{what}", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_kaspi_payment_that_came_late(world: World) -> None:
    opened = await world.start(await world.participant())
    world.later(4000)
    await world.maintain()
    world.later(4000)
    await world.maintain()
    assert await world.status(opened) is PaymentStatus.EXPIRED
    await at_kaspi(world, opened, "late-process", {})
    report = await run(world, "kaspi")
    assert kinds(report) == {("STATUS_MISMATCH", "repaired"): 1, ("LATE_PAYMENT", "again"): 1}
    assert await world.status(opened) is PaymentStatus.COMPLETED
    assert any("basic scheme" in each for each in report.notes)
    assert kinds(await run(world, "kaspi")) == {("LATE_PAYMENT", "again"): 1}


async def test_a_kaspi_payment_that_is_stuck(world: World) -> None:
    opened = await world.start(await world.participant())
    await at_kaspi(world, opened, "status", {"Status": "Wait"})
    world.later(3600)
    assert kinds(await run(world, "kaspi")) == {("STUCK", "repaired"): 1}  # scanned, says Kaspi: it gets time
    assert await world.status(opened) is PaymentStatus.PROCESSING
    world.later(3600)
    report = await run(world, "kaspi")
    assert kinds(report) == {("STUCK", "again"): 1}  # the door has said so a moment before
    assert kinds(await run(world, "kaspi")) == {("STUCK", "again"): 1}
    [row] = await open_rows(world)
    assert row.kind == "STUCK"
    await at_kaspi(world, opened, "status", {"Status": None})
    world.later(3600)
    report = await run(world, "kaspi")
    assert report.still_open == 0
    assert await world.status(opened) is PaymentStatus.EXPIRED


async def test_a_cashiers_refund_in_the_kaspi_app(world: World) -> None:
    opened = await Kaspi(world).paid()  # scheme enhanced
    await at_kaspi(world, opened, "cashier-refund", {"Amount": 4000})
    report = await run(world, "kaspi")
    assert kinds(report) == {("REFUND_MISMATCH", "repaired"): 1}
    assert (await world.view(opened)).refunded.amount == Decimal("4000.00")
    assert (await run(world, "kaspi")).found == 0


async def test_kaspi_dies_half_way(world: World) -> None:
    for _ in range(3):
        await paid_by_kaspi(world)
    await world.fault("/r1/", "status", status=503, times=50, skip=2)
    report = await run(world, "kaspi")
    assert report.cut is not None
    assert report.found == 0
