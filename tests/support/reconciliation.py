"""Reconciliation runs, and the differences that they have to find."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.queues import Discrepancy
from tests.support.environment import CLERK, World


async def run(world: World, provider: str = "stripe", **more: Any) -> Report:
    world.later(2)  # otherwise the latest changes count as still in progress
    return await reconcile(world.ctx, ReconcileRequest(provider, **more), CLERK)


def kinds(report: Report) -> Counter[tuple[str, str]]:
    return Counter((each.finding.kind.value, each.became) for each in report.told)


async def paid(world: World) -> views.Opening:
    """Make a COMPLETED payment by Apple Pay."""
    opened = await world.start(await world.participant(), "apple_pay")
    await world.pay_page(opened)
    for event in await world.events():  # of this payment only: a test may withhold the events of others
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
    """Change the database directly."""
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


def stripe(world: World) -> Any:
    """Return the data of the sandbox's Stripe, for changing it."""
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


async def at_kaspi(world: World, opened: views.Opening, what: str, body: Any) -> None:
    answer = await world.http.post(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}/{what}", json=body)
    assert answer.status_code == 200, answer.text


async def compare(world: World, lines: list[StatementLine], provider: str = "stripe", **more: Any) -> Report:
    """Reconcile a statement of one day, with its lines in reverse order."""
    return await run(
        world, provider, lines=lines[::-1], source_name="balance.csv",
        since=world.now() - timedelta(days=1), until=world.now() + timedelta(seconds=2), **more,
    )  # fmt: skip


def line(number: int, ref: str, at: datetime, amount: str = "50.00 USD", **more: Any) -> StatementLine:
    return StatementLine(
        number, more.pop("kind", LineKind.PAYMENT), ref, at, Money.parse(*amount.split(" ")), **more
    )
