"""Run reconciliations, and create the mismatches that they have to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import Blocks, LineKind, NotPlain, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementPeriod, StatementSummary
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import CLERK, ServiceEnvironment


async def run(environment: ServiceEnvironment, provider: str = "stripe", **more: Any) -> Report:
    environment.later(2)  # otherwise the latest changes count as still in progress
    return await reconcile(environment.ctx, ReconcileRequest(provider, **more), CLERK)


def kinds(report: Report) -> Counter[tuple[str, str]]:
    return Counter((each.finding.kind.value, each.became) for each in report.listed)


async def paid(environment: ServiceEnvironment) -> views.Opening:
    """Make a COMPLETED payment by Apple Pay."""
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened)
    for event in await environment.events():  # of this payment only: a test may withhold the events of others
        if (event["data"]["object"].get("metadata") or {}).get("payment_id") == opened.view.payment_id:
            await environment.receive(event)
    await environment.process_inbox()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def paid_by_kaspi(environment: ServiceEnvironment) -> views.Opening:
    opened = await environment.start()
    await environment.phone(opened)
    environment.later(6)
    await environment.poll_kaspi()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def intent_of(environment: ServiceEnvironment, opened: views.Opening) -> str:
    async with environment.ctx.db.reading() as session:
        payment = await session.get(Payment, opened.view.payment_id)
    assert payment is not None
    assert payment.stripe_payment_id is not None
    return payment.stripe_payment_id


async def open_rows(environment: ServiceEnvironment) -> list[Discrepancy]:
    return [row for row in await environment.rows(Discrepancy) if row.state.value == "open"]


def stripe(environment: ServiceEnvironment) -> Any:
    """Return the data of the sandbox's Stripe, for changing it."""
    return environment.sandbox.providers["stripe"].core  # type: ignore[attr-defined]


async def missed_webhook(environment: ServiceEnvironment) -> views.Opening:
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened)
    return opened


async def unknown_intent(environment: ServiceEnvironment, **metadata: str) -> str:
    data = {
        "amount": "5000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
        "return_url": "https://app.example.com/paid",
    } | {f"metadata[{name}]": value for name, value in metadata.items()}  # fmt: skip
    answer = await environment.http.post("/v1/payment_intents", data=data, headers=environment._stripe_auth())
    assert answer.json()["status"] == "succeeded"
    return str(answer.json()["id"])


async def not_ours(environment: ServiceEnvironment) -> None:
    await unknown_intent(environment)


async def gone_at_stripe(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    del stripe(environment).tables["payment_intents"][await intent_of(environment, opened)]
    del stripe(environment).tables["sessions"][opened.view.provider_ref]
    return opened


async def never_paid(environment: ServiceEnvironment) -> views.Opening:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.sql(
        """UPDATE "Payment" SET status = 'COMPLETED' WHERE id = :id""", id=opened.view.payment_id
    )
    await environment.sql(
        """UPDATE "Participant" SET status = 'PAID', "paymentId" = :id WHERE id = :participant_id""",
        id=opened.view.payment_id,
        participant_id=opened.view.participant_id,
    )
    return opened


async def another_amount(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    cents = await amount_in_sql(environment, "49.00")
    for table, column, key in (
        ('"Payment"', "amount", "id"),
        ("pay_payment_detail", "charged_amount", "payment_id"),
    ):
        await environment.sql(
            f"UPDATE {table} SET {column} = {cents} WHERE {key} = :id", id=opened.view.payment_id
        )
    return opened


async def amount_in_sql(environment: ServiceEnvironment, amount: str) -> str:
    return str(int(Decimal(amount) * 100)) if environment.ctx.db.is_sqlite() else amount


async def another_currency(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    for table, column, key in (
        ('"Payment"', "currency", "id"),
        ("pay_payment_detail", "charged_currency", "payment_id"),
    ):
        await environment.sql(
            f"UPDATE {table} SET {column} = 'EUR' WHERE {key} = :id", id=opened.view.payment_id
        )
    return opened


async def refunded_in_dashboard(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    data = {"payment_intent": await intent_of(environment, opened), "amount": "2000"}
    answer = await environment.http.post("/v1/refunds", data=data, headers=environment._stripe_auth())
    assert answer.status_code == 200
    return opened


async def refund_gone(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    intent, refunds = await intent_of(environment, opened), stripe(environment).tables["refunds"]
    for gone in [item["id"] for item in refunds.values() if item["payment_intent"] == intent]:
        del refunds[gone]
    return opened


async def paid_twice(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    await unknown_intent(environment, payment_id=opened.view.payment_id)
    return opened


async def late(environment: ServiceEnvironment) -> views.Opening:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.sql(
        """UPDATE "Payment" SET status = 'EXPIRED' WHERE id = :id""", id=opened.view.payment_id
    )
    await environment.sql(
        "UPDATE pay_payment_detail SET provider_open = :no, next_poll_at = NULL WHERE payment_id = :id",
        id=opened.view.payment_id,
        no=False,
    )
    return opened


async def not_activated(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    await environment.sql(
        """UPDATE "Participant" SET status = 'REGISTERED', "paymentId" = NULL WHERE id = :id""",
        id=opened.view.participant_id,
    )
    return opened


async def participant_gone(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    await environment.sql(
        """UPDATE "Participant" SET status = 'CANCELLED' WHERE id = :id""",
        id=opened.view.participant_id,
    )
    return opened


async def settled_by_another(environment: ServiceEnvironment) -> views.Opening:
    first, second = await paid(environment), await paid(environment)
    await environment.sql(
        """UPDATE "Participant" SET "paymentId" = NULL, status = 'REGISTERED' WHERE id = :id""",
        id=second.view.participant_id,
    )
    await environment.sql(
        """UPDATE pay_payment_detail SET participant_id = :participant_id WHERE payment_id = :id""",
        id=second.view.payment_id,
        participant_id=first.view.participant_id,
    )
    return second


async def disputed(environment: ServiceEnvironment) -> views.Opening:
    opened = await paid(environment)
    answer = await environment.http.post(
        f"/_sandbox/stripe/payment_intents/{await intent_of(environment, opened)}/dispute", json={}
    )
    assert answer.status_code == 200
    return opened


async def at_kaspi(environment: ServiceEnvironment, opened: views.Opening, action: str, body: Any) -> None:
    answer = await environment.http.post(
        f"/_sandbox/kaspi/payments/{opened.view.provider_ref}/{action}", json=body
    )
    assert answer.status_code == 200, answer.text


class Lines:
    """Lines in memory as an opened statement.

    :param skipped: how many further lines could not be read. :param period: what the file says it covers.
    """

    day_zone = ZoneInfo("Asia/Almaty")

    def __init__(
        self, lines: Iterable[StatementLine], skipped: int = 0, period: StatementPeriod | None = None
    ) -> None:
        self._lines = lines
        self.period = period
        self.summary = StatementSummary(skipped_count=skipped)

    def __iter__(self) -> Iterator[StatementLine]:
        for line in self._lines:
            self.summary.add(line.kind, 1, line.money.currency, line.money.amount)
            self.summary.first_at = min(line.at, self.summary.first_at or line.at)
            self.summary.last_at = max(line.at, self.summary.last_at or line.at)
            yield line

    def quick(self) -> Blocks:
        raise NotPlain


async def compare(
    environment: ServiceEnvironment,
    lines: list[StatementLine],
    provider: str = "stripe",
    *,
    skipped: int = 0,
    **more: Any,
) -> Report:
    """Reconcile a statement of one day, with its lines in reverse order."""
    return await run(
        environment, provider, lines=Lines(lines[::-1], skipped), source_name="balance.csv",
        since=environment.now() - timedelta(days=1), until=environment.now() + timedelta(seconds=2), **more,
    )  # fmt: skip


def line(number: int, ref: str, at: datetime, amount: str = "50.00 USD", **more: Any) -> StatementLine:
    return StatementLine(
        number, more.pop("kind", LineKind.PAYMENT), ref, at, Money.parse(*amount.split(" ")), **more
    )
