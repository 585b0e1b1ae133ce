"""What must hold after a day: our books equal the providers', and nothing is stuck or lost."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlmodel import select

from procomp_pay.domain.refunds import HOLDING, DisputeState, RefundState
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.context import AppContext
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.reconciliation import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DeliveryState, DiscrepancyState, EventState, OutboxState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.simulation.people import REASON

if TYPE_CHECKING:
    from tests.simulation.day import Day

_NOTHING = Decimal("0.00")
#: The states of a dispute at Stripe, and ours.
_AT_STRIPE = {
    "needs_response": (DisputeState.OPEN, DisputeState.WITHDRAWN),
    "won": (DisputeState.WON,),
    "lost": (DisputeState.LOST,),
}


async def check(day: Day, ctx: AppContext) -> None:
    """Add to the day's problems whatever does not hold."""
    rows: dict[Any, list[Any]] = {}
    tables = (
        Payment, PaymentDetail, Refund, Participant, KaspiOperation, WebhookEvent, OutboxMessage, Delivery,
        Discrepancy, ReconciliationRun,
    )  # fmt: skip
    async with ctx.db.reading() as session:
        for table in tables:
            rows[table] = list((await session.exec(select(table))).all())
    _Books(day, rows).check()
    for finding in (await verify(ctx)).findings:
        day.result.problems.append(f"audit: {finding}")


class _Books:
    def __init__(self, day: Day, rows: dict[Any, list[Any]]) -> None:
        self._day, self._rows = day, rows
        self._details = {row.payment_id: row for row in rows[PaymentDetail]}
        #: Money of invoices whose numbers we do not know: Kaspi's answer was lost, and the customer paid.
        self._unknown = _NOTHING
        self._disputed = {row.payment_id for row in rows[Discrepancy] if row.kind == "REFUND_MISMATCH"}

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self._day.result.problems.append(problem)

    def check(self) -> None:
        tally = self._day.result.tally
        tally["payments"] += len(self._rows[Payment])
        tally["refunds"] += len(self._rows[Refund])
        tally["for a person"] += len(self._rows[Discrepancy])
        for payment in self._rows[Payment]:
            tally[f"is {payment.status.value}"] += 1
            self._check_payment(payment, self._details[payment.id])
        self._check_totals()
        for participant in self._rows[Participant]:
            self._check_participant(participant)
        self._check_work()

    def _check_payment(self, payment: Payment, detail: PaymentDetail) -> None:
        name = f"payment {payment.id} ({detail.channel}, {payment.status})"
        objects, charged, refunded = self._at_provider(payment, detail)
        refunds = [row for row in self._rows[Refund] if row.payment_id == payment.id]
        paid = payment.status in PAID_STATUSES
        if detail.channel is Channel.KASPI_REMOTE and detail.provider_ref is None and charged:
            is_known = any(d.payment_id == payment.id and d.kind == "STUCK" for d in self._rows[Discrepancy])
            self._expect(is_known, f"{name}: nobody is told that its invoice may have been paid")
            self._unknown += charged
            charged = _NOTHING
        self._expect(objects <= 1, f"{name} has {objects} objects at its provider")
        self._expect(paid == (charged > 0), f"{name}: its provider took {charged}")
        self._expect(not paid or charged == detail.charged_amount, f"{name}: {charged} was paid")
        self._expect(refunded <= charged, f"{name}: {refunded} of {charged} was given back")
        self._expect(payment.status not in OPEN_STATUSES, f"{name} is still open")
        self._expect(not detail.provider_open, f"{name} is still open at its provider, for us")
        if payment.id not in self._disputed:
            self._expect(
                detail.refunded_amount == refunded,
                f"{name}: {detail.refunded_amount} refunded, not {refunded}",
            )
            waiting = [row.id for row in refunds if row.state is RefundState.PENDING]
            self._expect(not waiting, f"{name}: refunds {waiting} wait for ever")
        self._check_refunds_by_us(payment, refunds)
        self._check_dispute(name, payment, detail, charged - refunded)
        whole = paid and detail.refunded_amount == detail.charged_amount
        self._expect(
            (payment.status is PaymentStatus.REFUNDED) == whole, f"{name} is not what its refunds are"
        )

    def _check_dispute(self, name: str, payment: Payment, detail: PaymentDetail, left: Decimal) -> None:
        """Check that we know how a dispute stands, and that no money went back by it and by a refund.

        :param left: what was paid and not refunded.
        """
        tables = self._day.sandbox.stripe.core.tables
        rows = [
            row
            for row in tables["disputes"].values()
            if tables["payment_intents"][row["payment_intent"]]["metadata"].get("payment_id") == payment.id
        ]
        states = {_AT_STRIPE[row["status"]] for row in rows}
        is_known = detail.dispute_state in states.pop() if states else detail.dispute_state is None
        stand = [row["status"] for row in rows]
        self._expect(is_known, f"{name}: its dispute is {stand} at Stripe, {detail.dispute_state} for us")
        taken = sum((Decimal(row["amount"]) / 100 for row in rows if row["status"] != "won"), _NOTHING)
        self._day.result.tally["disputes"] += len(rows)
        self._expect(taken <= left, f"{name}: {taken} disputed, though {left} is left")

    def _check_refunds_by_us(self, payment: Payment, refunds: list[Refund]) -> None:
        """Check that each refund that was asked for here was made once, and that we know of it."""
        asked = [row for row in refunds if row.reason == REASON and row.state in HOLDING]
        tables, kaspi = self._day.sandbox.stripe.core.tables, self._day.sandbox.kaspi._book.payments.values()
        by_api = [
            refund.amount
            for row in kaspi
            if payment.id in (row.external_id, (row.comment or "")[-26:-1])
            for refund in row.refunds
            if refund.made_by == "api"
        ]
        by_api += [
            Decimal(row["amount"]) / 100
            for row in tables["refunds"].values()
            if row["metadata"].get("payment_id") == payment.id and row["status"] in ("succeeded", "pending")
        ]
        total = sum((row.amount for row in asked), _NOTHING)
        self._expect(
            sum(by_api, _NOTHING) <= total,
            f"payment {payment.id}: we gave back {by_api}, and were asked for {total}",
        )

    def _at_provider(self, payment: Payment, detail: PaymentDetail) -> tuple[int, Decimal, Decimal]:
        """Return the objects of a payment at its provider, and what was paid and given back by them."""
        sandbox = self._day.sandbox
        if detail.channel is Channel.KASPI_BILL:
            ours = {
                row.operation_number for row in self._rows[KaspiOperation] if row.payment_id == payment.id
            }
            taken = [money for txn, money in self._day.bills.items() if txn in ours]
            return len(taken), sum(taken, _NOTHING), _NOTHING
        if detail.channel.is_kaspi:
            book = sandbox.kaspi._book.payments.values()
            mine = [r for r in book if payment.id in (r.external_id, (r.comment or "")[-26:-1])]
            done = [row for row in mine if row.status == "Processed"]
            paid = sum((row.amount for row in done), _NOTHING)
            # a QR whose answer was lost is made again: nobody has seen the first
            objects = len(mine if detail.channel is Channel.KASPI_REMOTE else done)
            return objects, paid, paid - sum((row.available for row in done), _NOTHING)
        tables = sandbox.stripe.core.tables
        intents = [
            row
            for row in tables["payment_intents"].values()
            if row["metadata"].get("payment_id") == payment.id
        ]
        sessions = [row for row in tables["sessions"].values() if row["client_reference_id"] == payment.id]
        names = {row["id"] for row in intents}
        paid = sum(row["amount_received"] for row in intents if row["status"] == "succeeded")
        back = sum(
            row["amount"]
            for row in tables["refunds"].values()
            if row["payment_intent"] in names and row["status"] in ("succeeded", "pending")
        )
        return max(len(intents), len(sessions)), Decimal(paid) / 100, Decimal(back) / 100

    def _check_totals(self) -> None:
        """Compare what all payments together took and gave back: no money at a provider is unknown to us."""
        sandbox, ours = self._day.sandbox, defaultdict(lambda: _NOTHING)
        for payment in self._rows[Payment]:
            if payment.status in PAID_STATUSES:
                detail = self._details[payment.id]
                ours["kaspi" if detail.channel.is_kaspi else "stripe"] += detail.charged_amount
        kaspi = sum(
            (r.amount for r in sandbox.kaspi._book.payments.values() if r.status == "Processed"), _NOTHING
        )
        kaspi += sum(self._day.bills.values(), -self._unknown)
        intents = sandbox.stripe.core.tables["payment_intents"].values()
        stripe = Decimal(sum(row["amount_received"] for row in intents)) / 100
        self._expect(ours["kaspi"] == kaspi, f"Kaspi took {kaspi}, our books have {ours['kaspi']}")
        self._expect(ours["stripe"] == stripe, f"Stripe took {stripe}, our books have {ours['stripe']}")

    def _check_participant(self, participant: Participant) -> None:
        """Check that one payment settles the fee at most, and that each further one is to be decided."""
        name = f"participant {participant.id}"
        completed = [
            row.id
            for row in self._rows[Payment]
            if row.status is PaymentStatus.COMPLETED
            and self._details[row.id].participant_id == participant.id
        ]
        duplicates = [key for key in completed if self._details[key].is_duplicate]
        settling = [key for key in completed if key not in duplicates]
        self._expect(len(settling) <= 1, f"{name} is settled by {settling}")
        is_paid = participant.status is ParticipantStatus.PAID
        self._expect(is_paid == bool(settling), f"{name} is {participant.status}, settled by {settling}")
        self._expect(
            participant.payment_id == (settling or [None])[0], f"{name} has {participant.payment_id}"
        )
        known = {row.payment_id for row in self._rows[Discrepancy] if row.kind == "DUPLICATE_PAYMENT"}
        for key in duplicates:
            self._day.result.tally["duplicates"] += 1
            self._expect(key in known, f"{name} paid twice, and nobody is told of {key}")

    def _check_work(self) -> None:
        """Check that nothing waits: events, messages, runs."""
        for event in self._rows[WebhookEvent]:
            done = event.state in (EventState.DONE, EventState.IGNORED)
            self._expect(done, f"event {event.type} is {event.state}: {event.last_error}")
        for message in self._rows[OutboxMessage]:
            self._expect(message.state is not OutboxState.WAITING, f"{message.topic} was not routed")
        for delivery in self._rows[Delivery]:
            done = delivery.state in (DeliveryState.DELIVERED, DeliveryState.SKIPPED)
            self._expect(done, f"a message to the platform is {delivery.state}: {delivery.last_error}")
            told = delivery.state is not DeliveryState.DELIVERED or delivery.id in self._day.network.platform
            self._expect(told, f"the platform never got message {delivery.id}")
        for run in sorted(self._rows[ReconciliationRun], key=lambda run: run.started_at)[-2:]:
            self._expect(run.state == "done", f"the last reconciliation of {run.provider} is {run.state}")
        for row in self._rows[Discrepancy]:
            if row.state is DiscrepancyState.OPEN:
                self._day.result.tally[f"open {row.kind}"] += 1
