"""Payments taken for the wrong participant are moved to the right one, on both databases."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import AlreadyPaid, BadSignature, Conflict, NotFound, PaymentError, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.changes import edit_participant
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.page_link import of_page, page_address, page_url
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.idempotency import IdempotencyKey
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments.repository import lock_payment
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.labels import relabel
from tests.support.reconciliation import open_rows, run

PAID, DUE = ParticipantStatus.PAID, ParticipantStatus.REGISTERED


async def siblings(environment: ServiceEnvironment, **changes: Any) -> tuple[str, str]:
    """Add two participants of one tournament."""
    wrong = await environment.participant()
    return wrong, await environment.participant(tournament_id=f"t-{wrong}", **changes)


async def paid(environment: ServiceEnvironment, participant: str, **changes: Any) -> views.Opening:
    opened = await environment.paid(participant, **changes)
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def paid_by_wallet(environment: ServiceEnvironment, participant: str, **changes: Any) -> views.Opening:
    opened = await environment.paid(participant, "apple_pay", **changes)
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def move(environment: ServiceEnvironment, opened: views.Opening, former: str, to: str) -> None:
    await move_payment(
        environment.ctx, opened.view.payment_id, to, CLERK, reason="the brother", former_id=former
    )


async def refuses(
    environment: ServiceEnvironment,
    opened: views.Opening,
    former: str,
    to: str,
    match: str,
    kind: type[PaymentError] = Conflict,
) -> None:
    """Check that a move is refused, and that nothing was written."""
    tables = (Payment, PaymentDetail, Participant, AuditEntry, OutboxMessage)
    before = [sorted(row.model_dump_json() for row in await environment.rows(table)) for table in tables]
    with pytest.raises(kind, match=match):
        await move(environment, opened, former, to)
    after = [sorted(row.model_dump_json() for row in await environment.rows(table)) for table in tables]
    assert after == before


async def standing(environment: ServiceEnvironment, participant: str) -> tuple[Any, str | None]:
    row = await environment.read_participant(participant)
    return row.status, row.payment_id


async def test_a_payment_is_moved_with_both_participants(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    payment_id = opened.view.payment_id
    address = page_url(ctx, opened.view)
    await move(environment, opened, wrong, right)
    assert await standing(environment, wrong) == (DUE, None)
    assert await standing(environment, right) == (PAID, payment_id)
    view = await environment.view(opened)
    assert (view.participant_id, view.status) == (right, PaymentStatus.COMPLETED)
    [payment] = await environment.rows(Payment)
    assert (payment.user_id, payment.meta["participantId"]) == (f"u-{right}", right)
    name = (await environment.read_participant(right)).full_name
    assert payment.meta["description"] == f"{opened.view.tournament_name}: {name}"
    entry = (await environment.rows(AuditEntry))[-1]
    assert (entry.action, entry.actor, entry.note) == ("payment_moved", "aigerim", "the brother")
    assert (entry.before["participant_id"], entry.after["participant_id"]) == (wrong, right)
    assert entry.after["former_participant_status"] == "REGISTERED"
    assert (await verify(ctx)).is_sound
    told = [row.payload for row in await environment.rows(OutboxMessage) if row.topic == "payment.received"]
    assert [payload["participant_id"] for payload in told] == [wrong, right]
    # the link that was given out shows nothing of somebody else
    with pytest.raises(NotFound):
        await of_page(ctx, address.rsplit("/", 1)[1])
    new = page_url(ctx, view).rsplit("/", 1)[1]
    assert (await of_page(ctx, new)).view.participant_id == right
    assert (entry.before["code"], entry.after["code"]) == (
        str(opened.view.code).replace("-", ""), str(view.code).replace("-", ""),
    )  # fmt: skip
    with pytest.raises(NotFound, match="no payment yet"):
        await views.latest(ctx, wrong)
    # the former participant can pay, the other one not again; a refund frees the right one
    assert (await environment.start(wrong)).view.payment_id != payment_id
    with pytest.raises(AlreadyPaid):
        await environment.start(right)
    await move_back_is_refused(environment, opened, wrong, right)
    await refund(ctx, RefundCommand(payment_id, "withdrawn", None), CLERK)
    assert await standing(environment, right) == (DUE, None)


async def test_no_former_link_of_a_payment_works(environment: ServiceEnvironment) -> None:
    """Moved there and back: neither a former link, nor one by the id, names anybody."""
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    links = [page_address(ctx, opened.view.payment_id), page_url(ctx, opened.view)]
    await move(environment, opened, wrong, right)
    links.append(page_url(ctx, await environment.view(opened)))
    await move(environment, opened, right, wrong)
    for link in links:
        with pytest.raises((BadSignature, NotFound)):
            await of_page(ctx, link.rsplit("/", 1)[1])


async def move_back_is_refused(
    environment: ServiceEnvironment, opened: views.Opening, wrong: str, right: str
) -> None:
    await refuses(environment, opened, right, wrong, "a payment of their own")


async def test_a_move_is_undone_by_another(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    await move(environment, opened, wrong, right)
    await move(environment, opened, right, wrong)
    assert await standing(environment, wrong) == (PAID, opened.view.payment_id)
    assert await standing(environment, right) == (DUE, None)
    assert (await verify(environment.ctx)).is_sound


async def test_the_provider_does_not_move_it_back(environment: ServiceEnvironment) -> None:
    """Stripe's object names the former participant: a webhook sent again, a poll and reconcile change nothing
    and build no second payment."""
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    await move(environment, opened, wrong, right)
    for event in await environment.events():
        await environment.receive(event | {"id": f"{event['id']}again"})
    await environment.maintain(after=60)
    await run(environment)
    assert await standing(environment, wrong) == (DUE, None)
    assert await standing(environment, right) == (PAID, opened.view.payment_id)
    assert len(await environment.rows(Payment)) == 1
    assert await open_rows(environment) == []


async def test_a_repeated_start_shows_no_other_persons_payment(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong, idempotency_key="one")
    await refund_key(environment, opened)
    await move(environment, opened, wrong, right)
    again = await environment.start(wrong, idempotency_key="one")
    assert (again.view.participant_id, again.view.status) == (wrong, PaymentStatus.PENDING)
    keys = await environment.rows(IdempotencyKey)
    assert {(key.scope.split(":")[0], key.payment_id) for key in keys} == {
        ("initiate", again.view.payment_id),
        ("refund", opened.view.payment_id),
    }


async def refund_key(environment: ServiceEnvironment, opened: views.Opening) -> None:
    """Store the key of a refund, which stays."""
    async with environment.ctx.db.writing() as session:
        session.add(
            IdempotencyKey(
                scope="refund:x", key="one", fingerprint="x", payment_id=opened.view.payment_id,
                created_at=environment.now(),
            )
        )  # fmt: skip


async def test_a_second_payment_of_the_wrong_one_is_moved_once_it_is_decided(
    environment: ServiceEnvironment,
) -> None:
    """A mother of two pays twice for the first: the second one is flagged as a duplicate."""
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    first = await environment.start(wrong)
    extra = await environment.start(wrong, "apple_pay")
    await environment.phone(first)
    await environment.pay_page(extra)
    await environment.maintain(after=10)
    await environment.deliver()
    assert (await environment.view(extra)).is_duplicate
    await refuses(environment, extra, wrong, right, "discrepancy")
    async with ctx.db.writing() as session:
        for row in await environment.rows(Discrepancy):
            stored = await session.get(Discrepancy, row.id)
            assert stored is not None
            stored.state = "resolved"
    await move(environment, extra, wrong, right)
    assert (await standing(environment, right))[0] is PAID
    assert (await standing(environment, wrong))[0] is PAID
    assert not (await environment.view(extra)).is_duplicate


async def test_the_duplicate_takes_the_place_of_the_moved_one(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    other = environment.ctx.new_id()
    async with environment.ctx.db.writing() as session:
        locked = await lock_payment(session, opened.view.payment_id)
        for row, changes in (
            (locked.payment, {"id": other, "kaspi_qr_code": "77"}),
            (locked.detail, {"payment_id": other, "provider_ref": "77", "short_code": None,
                             "is_duplicate": True}),
        ):  # fmt: skip
            session.add(type(row)(**(row.model_dump() | changes)))
            await session.flush()
    await move(environment, opened, wrong, right)
    assert await standing(environment, wrong) == (PAID, other)
    assert await standing(environment, right) == (PAID, opened.view.payment_id)


@pytest.mark.parametrize("status", list(PaymentStatus))
async def test_only_completed_payments_are_moved(
    environment: ServiceEnvironment, status: PaymentStatus
) -> None:
    wrong, right = await siblings(environment)
    opened = await environment.start(wrong)
    if status in (PaymentStatus.COMPLETED, PaymentStatus.REFUNDED):
        return  # see the others
    await set_status(environment, opened, status)
    await refuses(environment, opened, wrong, right, f"is {status}: only a completed")


async def set_status(environment: ServiceEnvironment, opened: views.Opening, status: Any) -> None:
    async with environment.ctx.db.writing() as session:
        locked = await lock_payment(session, opened.view.payment_id)
        locked.payment.status = status


async def set_participant(
    environment: ServiceEnvironment, participant: str, status: ParticipantStatus
) -> None:
    async with environment.ctx.db.writing() as session:
        row = await session.get(Participant, participant)
        assert row is not None
        row.status = status


async def test_a_refund_in_progress_or_made_keeps_it(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    await refund(ctx, RefundCommand(opened.view.payment_id, "part", Money.parse(4, "USD")), CLERK)
    await refuses(environment, opened, wrong, right, "part of payment")
    [row] = await environment.rows(Refund)
    async with ctx.db.writing() as session:
        stored = await session.get(Refund, row.id)
        assert stored is not None
        stored.state = "PENDING"
    await refuses(environment, opened, wrong, right, "in progress")
    async with ctx.db.writing() as session:
        stored = await session.get(Refund, row.id)
        assert stored is not None
        stored.state = "FAILED"
    await move(environment, opened, wrong, right)  # nothing went back


async def test_a_refunded_payment_is_not_moved(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "all", None), CLERK)
    await refuses(environment, opened, wrong, right, "is REFUNDED")


@pytest.mark.parametrize(("dispute", "refused"), [("open", 1), ("withdrawn", 1), ("lost", 1), ("won", 0)])
async def test_a_dispute_keeps_it_unless_it_was_won(
    environment: ServiceEnvironment, dispute: str, refused: int
) -> None:
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    async with environment.ctx.db.writing() as session:
        (await lock_payment(session, opened.view.payment_id)).detail.dispute_state = dispute  # type: ignore[assignment]
    if refused:
        await refuses(environment, opened, wrong, right, f"is {dispute}")
    else:
        await move(environment, opened, wrong, right)


async def test_a_discrepancy_or_an_unconfirmed_payment_keeps_it(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, opened.view.payment_id)
        locked.detail.provider_open = True
    await refuses(environment, opened, wrong, right, "not confirmed")
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, opened.view.payment_id)
        locked.detail.provider_open = False
        await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.LATE_PAYMENT, {})
    await refuses(environment, opened, wrong, right, "LATE_PAYMENT")


async def test_the_other_participant_must_owe_the_fee(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    elsewhere = await environment.participant()
    await refuses(environment, opened, wrong, elsewhere, "another tournament", Refused)
    await refuses(environment, opened, wrong, "nobody", "no participant", NotFound)
    await refuses(environment, opened, wrong, wrong, "already")
    for status, match in ((ParticipantStatus.CANCELLED, "CANCELLED"), (PAID, "paid already")):
        other = await environment.participant(tournament_id=f"t-{wrong}", status=status)
        await refuses(environment, opened, wrong, other, match)
    waiting = await environment.start(right, "apple_pay")
    await refuses(environment, opened, wrong, right, waiting.view.payment_id)
    await set_status(environment, waiting, PaymentStatus.FAILED)  # it can be tried again
    await refuses(environment, opened, wrong, right, waiting.view.payment_id)
    third = await environment.participant(tournament_id=f"t-{wrong}")
    await tournaments.set_fee(ctx, f"t-{wrong}", Money.parse(30000, "KZT"), CLERK)
    await refuses(environment, opened, wrong, third, "30,?.?000", Refused)
    with pytest.raises(Refused, match="reason"):
        await move_payment(ctx, opened.view.payment_id, third, CLERK, reason=" ", former_id=wrong)


async def test_money_of_another_amount_for_the_other_one_is_decided_first(
    environment: ServiceEnvironment,
) -> None:
    ctx = environment.ctx
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    odd = await environment.start(right)
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, odd.view.payment_id)
        locked.payment.status, locked.detail.provider_open = PaymentStatus.EXPIRED, False
        await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.AMOUNT_MISMATCH, {})
    await refuses(environment, opened, wrong, right, "different amount")


async def test_a_status_of_the_platform_that_rests_on_it_keeps_it(
    environment: ServiceEnvironment, database_url: str
) -> None:
    wrong, right = await siblings(environment)
    opened = await paid(environment, wrong)
    relabel(database_url, "Participant", "status", "CHECKED_IN", wrong)
    await refuses(environment, opened, wrong, right, "marks .* as CHECKED_IN")
    relabel(database_url, "Participant", "status", "CHECKED_IN", right)
    await set_participant(environment, wrong, PAID)
    await refuses(environment, opened, wrong, right, "is CHECKED_IN")


async def test_two_moves_of_one_payment_do_not_follow_each_other(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    third = await environment.participant(tournament_id=f"t-{wrong}")
    opened = await paid(environment, wrong)
    done = await asyncio.gather(
        move(environment, opened, wrong, right),
        move(environment, opened, wrong, third),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in done) == ["Conflict", "NoneType"]
    settled = [await standing(environment, key) for key in (wrong, right, third)]
    assert sorted(status for status, _ in settled) == [PAID, DUE, DUE]


async def test_two_payments_are_not_moved_to_one_participant(environment: ServiceEnvironment) -> None:
    first, second = await siblings(environment)
    target = await environment.participant(tournament_id=f"t-{first}")
    one, two = await paid(environment, first), await paid(environment, second)
    done = await asyncio.gather(
        move(environment, one, first, target), move(environment, two, second, target), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in done) == ["Conflict", "NoneType"]
    linked = [(await standing(environment, key))[1] for key in (first, second, target)]
    assert sorted(filter(None, linked)) == sorted([one.view.payment_id, two.view.payment_id])


async def test_moves_crosswise_and_starts_wait_for_each_other(environment: ServiceEnvironment) -> None:
    """Two clerks exchange, others start payments, edit and refund at the same moment: none hangs, and each
    payment settles at most one registration."""
    first, second = await siblings(environment)
    one = await paid(environment, first)
    for _ in range(5):
        owner = (await environment.view(one)).participant_id
        other = second if owner == first else first
        done = await asyncio.gather(
            move(environment, one, owner, other),
            move(environment, one, owner, other),
            environment.start(other),
            edit_participant(environment.ctx, owner, CLERK, category="-60"),
            edit_participant(environment.ctx, other, CLERK, category="-60"),
            return_exceptions=True,
        )
        unexpected = [
            result
            for result in done
            if isinstance(result, BaseException) and not isinstance(result, PaymentError)
        ]
        assert unexpected == []
        settled = [key for key in (first, second) if (await standing(environment, key))[0] is PAID]
        assert settled == [(await environment.view(one)).participant_id]
        environment.later(1200)  # the open QR ends
        await environment.maintain()


async def test_a_refund_at_the_same_moment_wins_or_follows(environment: ServiceEnvironment) -> None:
    wrong, right = await siblings(environment)
    opened = await paid_by_wallet(environment, wrong)
    command = RefundCommand(opened.view.payment_id, "withdrawn", None)
    done = await asyncio.gather(
        refund(environment.ctx, command, CLERK),
        move(environment, opened, wrong, right),
        return_exceptions=True,
    )
    assert not isinstance(done[0], BaseException)
    assert done[1] is None or isinstance(done[1], Conflict)
    await environment.maintain()
    for key in (wrong, right):
        assert await standing(environment, key) == (DUE, None)
    assert [row.amount for row in await environment.rows(Refund)] == [Decimal("50.00")]
