"""What the platform may do to shared rows, and what follows: the table of docs/platform/index.md."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from procomp_pay.domain.errors import AlreadyPaid, Conflict
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.verify import Flaw
from procomp_pay.services.maintenance.adoption import size
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views.payment import Opening
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import CLERK, ServiceEnvironment

S = PaymentStatus


async def change(environment: ServiceEnvironment, table: type[Any], row_id: str, **values: Any) -> None:
    async with environment.ctx.db.writing() as session:
        row = await session.get_one(table, row_id)
        for name, value in values.items():
            setattr(row, name, value)


async def delete(environment: ServiceEnvironment, table: type[Any], row_id: str) -> None:
    async with environment.ctx.db.writing() as session:
        await session.delete(await session.get_one(table, row_id))


async def paid_late(environment: ServiceEnvironment, opened: Opening) -> list[str]:
    """Pay the open payment; return the kinds of discrepancies, each of which has an alert."""
    await environment.pay_page(opened)
    await environment.deliver()
    assert await environment.status(opened) is S.COMPLETED
    kinds = [row.kind for row in await environment.rows(Discrepancy)]
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic.startswith("alert.")]
    assert len(alerts) == len(kinds)
    return kinds


async def test_it_deletes_a_participant(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await delete(environment, Participant, participant)
    assert await paid_late(environment, opened) == ["PARTICIPANT_MISMATCH"]
    assert (await environment.view(opened)).participant_name == "(removed)"


async def test_it_cancels_a_registration(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await change(environment, Participant, participant, status=ParticipantStatus.CANCELLED)
    with pytest.raises(Conflict, match="is cancelled"):
        await environment.start(participant)
    assert await paid_late(environment, opened) == ["PARTICIPANT_MISMATCH"]
    row = await environment.read_participant(participant)
    assert (row.status, row.payment_id) == (ParticipantStatus.CANCELLED, None)


async def test_it_moves_a_registration(environment: ServiceEnvironment) -> None:
    participant, other = await environment.participant(), await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await change(environment, Participant, participant, tournament_id=f"t-{other}")
    await change(environment, Tournament, f"t-{other}", entry_fee=Decimal("70.00"))
    assert await paid_late(environment, opened) == ["PARTICIPANT_MISMATCH"]
    again = await environment.start(participant, "apple_pay")
    assert again.view.charged.amount == Decimal("70.00")


async def test_it_takes_cash(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await change(environment, Participant, participant, status=ParticipantStatus.PAID)
    with pytest.raises(AlreadyPaid):
        await environment.start(participant)
    assert await paid_late(environment, opened) == ["DUPLICATE_PAYMENT"]
    assert (await environment.view(opened)).is_duplicate
    await reconcile(environment.ctx, ReconcileRequest("stripe"), CLERK)
    [row] = await environment.rows(Discrepancy)
    assert (row.kind, row.state) == ("DUPLICATE_PAYMENT", "open")
    assert await place(environment, participant) == (ParticipantStatus.PAID, None)
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "paid twice"), CLERK)
    await environment.deliver()
    assert await environment.status(opened) is S.REFUNDED
    assert await place(environment, participant) == (ParticipantStatus.PAID, None)


async def test_it_takes_cash_while_a_qr_is_open(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant)
    await change(environment, Participant, participant, status=ParticipantStatus.PAID)
    await environment.phone(opened)
    await environment.maintain(after=30)
    view = await environment.view(opened)
    assert (view.status, view.is_duplicate) == (S.COMPLETED, True)
    topics = [row.topic for row in await environment.rows(OutboxMessage)]
    assert topics.count("alert.duplicate_payment") == 1
    assert await place(environment, participant) == (ParticipantStatus.PAID, None)


async def test_it_takes_cash_while_a_page_is_open(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await change(environment, Participant, participant, status=ParticipantStatus.PAID)
    await environment.maintain(after=3600)
    assert await environment.status(opened) is S.CANCELLED
    assert await environment.rows(Discrepancy) == []


async def place(environment: ServiceEnvironment, participant: str) -> tuple[Any, str | None]:
    row = await environment.read_participant(participant)
    return row.status, row.payment_id


async def test_it_writes_a_payment(environment: ServiceEnvironment) -> None:
    participant, now = await environment.participant(), environment.now()
    async with environment.ctx.db.writing() as session:
        session.add(
            Payment(
                id="theirs", amount=Decimal(50), currency=Currency.USD, user_id=f"u-{participant}",
                tournament_id=f"t-{participant}", created_at=now, updated_at=now,
            )
        )  # fmt: skip
    await environment.maintain()
    assert await size(environment.ctx) == 1
    assert (await audit_verify.verify(environment.ctx)).findings == []


async def test_it_changes_the_status_of_a_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await change(environment, Payment, opened.view.payment_id, status=S.COMPLETED)
    assert await environment.status(opened) is S.COMPLETED
    [finding] = (await audit_verify.verify(environment.ctx)).findings
    assert (finding.flaw, finding.payment_id) == (Flaw.DISAGREES, opened.view.payment_id)


async def test_it_deletes_a_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    with pytest.raises(IntegrityError):
        await delete(environment, Payment, opened.view.payment_id)
    assert await environment.status(opened) is S.PENDING


async def test_it_changes_a_fee(environment: ServiceEnvironment) -> None:
    participant, other = await environment.participant(), await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await change(environment, Tournament, f"t-{participant}", entry_fee=Decimal("60.00"))
    await change(environment, Participant, other, tournament_id=f"t-{participant}")
    assert (await environment.start(other, "apple_pay")).view.charged.amount == Decimal("60.00")
    assert await paid_late(environment, opened) == []
    assert (await environment.view(opened)).charged.amount == Decimal("50.00")
