"""Payments of a platform that took money before this desk: taken over, none twice, none guessed at."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from procomp_pay.cli.display import wording
from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Conflict, DatabaseUnavailable, NotFound, Refused
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.verify import Flaw
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.maintenance.adoption import adopt, size
from procomp_pay.services.refunds import create as refunds
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import Opening
from procomp_pay.storage.audit.chain import entry_hash
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import unadopted
from procomp_pay.storage.payments.repository import load_payment
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_payments import gone, paid
from tests.support.labels import relabel

S = PaymentStatus


async def forget(environment: ServiceEnvironment) -> None:
    """Leave what the platform would have written by itself."""
    tables = "pay_refund", "pay_kaspi_operation", "pay_discrepancy", "pay_audit_entry", "pay_payment_detail"
    async with environment.ctx.db.writing() as session:
        for table in tables:
            await (await session.connection()).execute(text(f"DELETE FROM {table}"))


async def by_card(environment: ServiceEnvironment) -> Opening:
    return await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)


async def test_what_was_paid_meanwhile_is_found(environment: ServiceEnvironment) -> None:
    opened = await by_card(environment)
    await forget(environment)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    assert await size(environment.ctx) == 1
    dry = await adopt(environment.ctx, CLERK, dry_run=True)
    assert (dry.taken, dry.asked, dry.left, await size(environment.ctx)) == (1, 1, 0, 1)
    report = await adopt(environment.ctx, CLERK)
    assert (report.taken, report.asked, await size(environment.ctx)) == (1, 1, 0)
    await environment.maintain()
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, opened.view.payment_id)
    assert locked.payment.status is S.COMPLETED
    assert locked.participant is not None
    assert locked.participant.status is ParticipantStatus.PAID
    again = await adopt(environment.ctx, CLERK)
    assert (again.taken, again.left) == (0, 0)
    assert (await audit_verify.verify(environment.ctx)).findings == []


async def test_a_number_settles_nothing_else(environment: ServiceEnvironment) -> None:
    paid, other = (
        await environment.start(),
        await environment.start(),
    )
    await verify(
        environment.ctx,
        VerificationRequest(paid.view.payment_id, "190000001", override=True, reason="seen"),
        CLERK,
    )
    await forget(environment)
    assert (await adopt(environment.ctx, CLERK)).taken == 2
    with pytest.raises(Conflict, match="has settled another payment"):
        await verify(environment.ctx, VerificationRequest(other.view.payment_id, "190000001"), CLERK)


async def test_one_number_for_two_is_for_a_person(environment: ServiceEnvironment) -> None:
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    await forget(environment)
    async with environment.ctx.db.writing() as session:
        for opened, number in ((first, "QR190000001"), (second, "0190000001")):
            row = await session.get_one(Payment, opened.view.payment_id)
            row.status, row.kaspi_transaction_id = S.COMPLETED, number
    report = await adopt(environment.ctx, CLERK)
    assert (report.taken, report.left) == (1, 1)
    [(payment, reason)] = report.named
    assert payment in (first.view.payment_id, second.view.payment_id)
    assert "operation number 190000001" in reason
    assert (
        await adopt(environment.ctx, CLERK)
    ).named == report.named  # also beside those that are known already


async def test_what_went_back_is_counted_once(environment: ServiceEnvironment) -> None:
    opened = await by_card(environment)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    await refunds.refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    await forget(environment)
    assert (await adopt(environment.ctx, CLERK)).asked == 1
    for _ in range(2):
        await environment.maintain()
        view = await views.one(environment.ctx, opened.view.payment_id)
        assert (view.status, view.refunded.amount) == (S.REFUNDED, view.charged.amount)


async def test_what_the_platform_refunded_counts_on_its_day(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await forget(environment)
    booked_at = environment.now().replace(microsecond=0) - timedelta(days=40)
    async with environment.ctx.db.writing() as session:
        row = await session.get_one(Payment, opened.view.payment_id)
        row.status, row.updated_at = S.REFUNDED, booked_at
    assert (await adopt(environment.ctx, CLERK)).taken == 1
    [refund] = await environment.rows(Refund)
    assert (refund.amount, refund.updated_at) == (opened.view.charged.amount, booked_at)
    assert (await audit_verify.verify(environment.ctx)).findings == []
    # an entry of version 0.1.0, which named no sum
    async with environment.ctx.db.writing() as session:
        [entry] = (await session.exec(select(AuditEntry))).all()
        entry.after = {name: value for name, value in entry.after.items() if name != "refunded"}
        entry.hash = entry_hash(entry)
    findings = (await audit_verify.verify(environment.ctx)).findings
    assert [finding.flaw for finding in findings if finding.flaw is Flaw.DISAGREES] == []


async def test_a_number_that_a_clerk_takes_at_this_moment(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was looked for, and before it was written down: else the payment would be without a number."""
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    await forget(environment)
    async with environment.ctx.db.writing() as session:
        for opened in (first, second):
            row = await session.get_one(Payment, opened.view.payment_id)
            row.status, row.kaspi_transaction_id = S.COMPLETED, "190000001"
    await adopt(environment.ctx, CLERK)  # the first one has the number now

    async def nobody_yet(*_: object) -> dict[str, str]:
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(unadopted, "numbers_in_use", nobody_yet)
        with pytest.raises(DatabaseUnavailable, match="at this moment"):
            await adopt(environment.ctx, CLERK)
    assert await size(environment.ctx) == 1
    assert (await adopt(environment.ctx, CLERK)).left == 1


async def test_dollars_that_the_platform_wrote_are_not_given_back_as_tenge(
    environment: ServiceEnvironment,
) -> None:
    """The platform's payments are in dollars by default, Kaspi's too."""
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await forget(environment)
    async with environment.ctx.db.writing() as session:
        row = await session.get_one(Payment, opened.view.payment_id)
        row.amount, row.currency = Decimal("50.00"), Currency.USD
    assert (await adopt(environment.ctx, CLERK)).taken == 1
    with pytest.raises(Refused, match="only tenge"):
        await refunds.refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    assert (await gone(environment, opened), await environment.status(opened)) == (Decimal(0), S.COMPLETED)


async def by_platform(environment: ServiceEnvironment, payment_id: str, **changes: Any) -> str:
    """Write a payment as the platform does, for a new participant whom it does not name; return whom."""
    participant = await environment.participant()
    now = environment.now()
    fields = {
        "id": payment_id, "amount": Decimal("50.00"), "currency": Currency.USD, "status": S.COMPLETED,
        "method": PaymentMethod.APPLE_PAY, "user_id": f"u-{participant}", "tournament_id": f"t-{participant}",
        "created_at": now, "updated_at": now,
    }  # fmt: skip
    async with environment.ctx.db.writing() as session:
        session.add(Payment(**(fields | changes)))
    return participant


async def test_cash_is_accepted_as_the_platforms_own_once(
    environment: ServiceEnvironment, database_url: str
) -> None:
    await by_platform(environment, "nothing", method=None)
    await by_platform(environment, "cash", method=None)
    relabel(database_url, "Payment", "method", "CASH", "cash")
    await by_platform(environment, "odd", method=None, stripe_payment_id="pi_1")
    dry = await adopt(environment.ctx, CLERK, dry_run=True)
    assert (dry.taken, dry.kept, dry.left, await size(environment.ctx)) == (0, 2, 1, 3)
    report = await adopt(environment.ctx, CLERK)
    assert (report.taken, report.kept, report.named) == (0, 2, [("odd", "has no method")])
    again = await adopt(environment.ctx, CLERK)
    assert (again.taken, again.kept, again.left, await size(environment.ctx)) == (0, 0, 1, 1)
    assert (await audit_verify.verify(environment.ctx)).findings == []
    entries = await environment.rows(AuditEntry)
    assert {(entry.payment_id, entry.action, entry.actor) for entry in entries} == {
        ("nothing", "kept_by_platform", CLERK.name), ("cash", "kept_by_platform", CLERK.name),
    }  # fmt: skip


async def test_the_only_registration_of_the_user_is_taken(environment: ServiceEnvironment) -> None:
    participant = await by_platform(environment, "card")
    other = await by_platform(environment, "two")
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        first = await session.get_one(Participant, other)
        session.add(
            Participant(
                id="second", user_id=first.user_id, tournament_id=first.tournament_id, full_name="Ani",
                created_at=now, updated_at=now,
            )
        )  # fmt: skip
    report = await adopt(environment.ctx, CLERK)
    assert (report.taken, [payment for payment, _ in report.named]) == (1, ["two"])
    async with environment.ctx.db.reading() as session:
        assert (await load_payment(session, "card")).detail.participant_id == participant
    with pytest.raises(NotFound, match="card"):
        await adopt(environment.ctx, CLERK, assign={"card": "second"})
    with pytest.raises(Refused, match="is registered for tournament"):
        await adopt(environment.ctx, CLERK, assign={"two": participant})
    assert (await adopt(environment.ctx, CLERK, assign={"two": "second"}, dry_run=True)).taken == 1
    report = await adopt(environment.ctx, CLERK, assign={"two": "second"})
    assert (report.taken, report.left) == (1, 0)
    async with environment.ctx.db.reading() as session:
        assert (await load_payment(session, "two")).detail.participant_id == "second"


async def test_who_paid_the_platform_is_not_said_to_have_no_payment(environment: ServiceEnvironment) -> None:
    participant = await by_platform(environment, "card")
    opened = await environment.start(participant)
    await environment.maintain(after=3600)
    async with environment.ctx.db.writing() as session:
        row = await session.get_one(Participant, participant)
        row.status = ParticipantStatus.PAID
    view = await views.latest(environment.ctx, participant)
    assert (view.payment_id, view.is_marked_paid) == (opened.view.payment_id, True)
    assert "marks the fee as paid" in wording.state(view)
    async with environment.ctx.db.writing() as session:
        (await session.get_one(Participant, participant)).payment_id = "card"
    with pytest.raises(NotFound, match="has paid by payment card, which the platform took"):
        await views.latest(environment.ctx, participant)
    await adopt(environment.ctx, CLERK)
    assert (await views.latest(environment.ctx, participant)).payment_id == "card"


async def test_a_participant_marked_as_paid_without_any_payment(environment: ServiceEnvironment) -> None:
    participant = await environment.participant(status=ParticipantStatus.PAID)
    with pytest.raises(NotFound, match="is marked as paid by the platform"):
        await views.latest(environment.ctx, participant)


async def test_pages_follow_the_ids(environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each payment is looked at once, whatever its time."""
    monkeypatch.setattr(unadopted, "PAGE", 2)
    now = environment.now()
    for n in range(5):
        at = now - timedelta(days=n)
        await by_platform(environment, f"pay{n}", created_at=at, amount=Decimal(n % 2) * 50)
    seen: list[int] = []
    report = await adopt(environment.ctx, CLERK, on_progress=seen.append)
    assert (report.taken, [payment for payment, _ in report.named], seen) == (
        2,
        ["pay0", "pay2", "pay4"],
        [2, 4, 5],
    )
