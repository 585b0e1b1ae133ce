"""A platform may link a participant to a payment when it begins: only a COMPLETED one settles the fee."""

from decimal import Decimal

import pytest

from procomp_pay.domain.entry_fees import Charge
from procomp_pay.domain.errors import AlreadyPaid
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification import queue
from procomp_pay.services.maintenance.adoption import adopt
from procomp_pay.services.registrations.participants import list_participants
from procomp_pay.services.registrations.tournaments import list_tournaments
from procomp_pay.services.views import payment as views
from procomp_pay.services.webhooks import kaspi_bill_account as bill
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments import repository
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.labels import relabel

S = PaymentStatus
UNPAID = [status for status in S if status is not S.COMPLETED]


async def link(
    environment: ServiceEnvironment, participant: str, status: PaymentStatus, *, marked: bool = False
) -> str:
    """Write a payment and link the participant to it, as the platform does."""
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        row = await session.get_one(Participant, participant)
        payment = Payment(
            id=f"platform-{participant}", amount=50, currency=Currency.USD, status=status,
            method=PaymentMethod.APPLE_PAY, user_id=row.user_id, tournament_id=row.tournament_id,
            created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(payment)
        await session.flush()
        row.payment_id = payment.id
        if marked:
            row.status = ParticipantStatus.PAID
        return payment.id


async def paid_at_desk(environment: ServiceEnvironment, participant: str) -> str:
    opened = await environment.paid(participant)
    assert await environment.status(opened) is S.COMPLETED
    return opened.view.payment_id


@pytest.mark.parametrize("status", UNPAID)
async def test_an_unpaid_link_is_not_paid(environment: ServiceEnvironment, status: PaymentStatus) -> None:
    participant = await environment.participant()
    await link(environment, participant, status)
    ctx = environment.ctx
    [view] = (await list_participants(ctx, paid=False)).items
    assert (view.participant_id, view.is_paid) == (participant, False)
    assert (await list_participants(ctx, paid=True)).total == 0
    assert [summary.paid for summary in await list_tournaments(ctx)] == [0]
    payment = await paid_at_desk(environment, participant)
    row = await environment.read_participant(participant)
    assert (row.status, row.payment_id) == (ParticipantStatus.PAID, payment)
    view_of_payment = await views.latest(ctx, participant)
    assert (view_of_payment.payment_id, view_of_payment.is_duplicate) == (payment, False)


async def test_a_completed_link_is_paid(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await link(environment, participant, S.COMPLETED)
    ctx = environment.ctx
    [view] = (await list_participants(ctx, paid=True)).items
    assert (view.status, view.is_paid) == (ParticipantStatus.REGISTERED, True)
    assert (await list_participants(ctx, paid=False)).total == 0
    assert [summary.paid for summary in await list_tournaments(ctx)] == [1]
    with pytest.raises(AlreadyPaid):
        await environment.start(participant)


async def test_a_foreign_word_does_not_make_our_payment_paid(
    environment: ServiceEnvironment, database_url: str
) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    relabel(database_url, "Payment", "status", "HELD", opened.view.payment_id)
    async with environment.ctx.db.writing() as session:
        (await session.get_one(Participant, participant)).payment_id = opened.view.payment_id
    assert (await list_participants(environment.ctx, paid=True)).total == 0
    [link] = (await adopt(environment.ctx, CLERK, dry_run=True)).links
    assert (link.participant_id, link.status) == (participant, "HELD")
    again = await environment.paid(participant)
    row = await environment.read_participant(participant)
    assert (row.status, row.payment_id) == (ParticipantStatus.PAID, again.view.payment_id)


@pytest.mark.parametrize("ours", [True, False])
async def test_a_foreign_word_leaves_what_was_paid_paid(
    environment: ServiceEnvironment, database_url: str, ours: bool
) -> None:
    """Of ours, it completed before; of the platform's own, only the platform knows."""
    participant = await environment.participant()
    payment = (
        await paid_at_desk(environment, participant)
        if ours
        else await link(environment, participant, S.PENDING)
    )
    relabel(database_url, "Payment", "status", "DISPUTED", payment)
    async with environment.ctx.db.writing() as session:
        (await session.get_one(Participant, participant)).status = ParticipantStatus.REGISTERED
    assert (await list_participants(environment.ctx, paid=True)).total == 1
    with pytest.raises(AlreadyPaid):
        await environment.start(participant)


async def test_who_is_marked_as_paid_is_not_charged(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await link(environment, participant, S.PENDING, marked=True)
    request = InitiateRequest(participant, PaymentMethod.KASPI_QR, Channel.KASPI_QR)
    with pytest.raises(AlreadyPaid):
        await initiate(environment.ctx, request, CLERK)


async def test_the_open_payment_stays_in_the_queue(environment: ServiceEnvironment) -> None:
    """Linked to itself by the platform, or to another unpaid one."""
    waiting = []
    for other in (False, True):
        participant = await environment.participant()
        opened = await environment.start(participant)
        waiting.append(opened.view.payment_id)
        if other:
            await link(environment, participant, S.FAILED)
            continue
        async with environment.ctx.db.writing() as session:
            (await session.get_one(Participant, participant)).payment_id = opened.view.payment_id
    queued = await queue.waiting(environment.ctx)
    assert [view.payment_id for view in queued] == waiting
    assert [view.settled_by for view in queued] == [None, None]


async def test_money_that_came_is_placed_whatever_the_link(environment: ServiceEnvironment) -> None:
    """By a webhook that is handled in a batch, and after a lost link."""
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await link(environment, participant, S.CANCELLED)
    await environment.pay_page(opened)
    await environment.deliver()
    view = await environment.view(opened)
    row = await environment.read_participant(participant)
    assert (view.status, view.is_duplicate, row.payment_id) == (S.COMPLETED, False, view.payment_id)


async def test_a_bill_is_accepted(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await link(environment, participant, S.EXPIRED)
    fee = Money(Decimal(24000), Currency.KZT)
    async with environment.ctx.db.writing() as session:
        account = await bill.find(session, participant, environment.now())
        assert account is not None
        status = await bill.account_status(session, account)
        assert (status.result, status.due) == (Result.OK, fee)
        received = bill.BillPayment("77", fee, environment.now())
        payment = await bill.record_payment(session, environment.ctx, account, Charge(fee, fee), received)
    row = await environment.read_participant(participant)
    assert (row.status, row.payment_id) == (ParticipantStatus.PAID, payment)


async def test_the_payment_of_another_is_not_touched(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant)
    other = await link(environment, participant, S.COMPLETED)
    async with environment.ctx.db.reading() as session:
        locked = await repository.load_payment(session, opened.view.payment_id)
    assert (locked.settled_by, locked.unpaid_link) == (other, None)


async def test_adoption_names_the_links(environment: ServiceEnvironment) -> None:
    first, second, third = [await environment.participant() for _ in range(3)]
    await link(environment, first, S.PENDING)
    await link(environment, second, S.FAILED, marked=True)
    await link(environment, third, S.COMPLETED)
    links = (await adopt(environment.ctx, CLERK, dry_run=True)).links
    assert [(row.participant_id, row.status, row.marked_paid) for row in links] == [
        (second, S.FAILED, True), (first, S.PENDING, False),
    ]  # fmt: skip
