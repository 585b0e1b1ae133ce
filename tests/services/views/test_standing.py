"""``GET status`` reads by one SELECT what ``latest`` reads by several: both must tell the same."""

from typing import Any

import pytest
from sqlalchemy import event

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.views import payment as views
from tests.services.registrations.test_unpaid_links import link, paid_at_desk
from tests.support.environment import ServiceEnvironment


async def agree(environment: ServiceEnvironment, participant: str) -> str:
    """Compare what both tell, and return the payment or the reason."""
    ctx, owners = environment.ctx, list[str]()
    try:
        latest = await views.latest(ctx, participant)
    except NotFound as error:
        with pytest.raises(NotFound) as raised:
            await views.standing(ctx, participant, owners.append, plain=False)
        assert vars(raised.value) == vars(error)  # noqa: PT017 - either may raise
        return error.message
    assert await views.standing(ctx, participant, owners.append, plain=False) == latest.seeded()
    assert await views.standing(ctx, participant, owners.append, plain=True) == latest.for_owner().seeded()
    assert owners == [f"u-{participant}"] * 2
    return latest.payment_id


async def test_the_newest_payment_and_then_the_one_that_settled(environment: ServiceEnvironment) -> None:
    participant, other = await environment.participant(), await environment.participant()
    assert "has no payment yet" in await agree(environment, participant)
    first = await environment.start(participant)
    assert await agree(environment, participant) == first.view.payment_id
    second = await environment.start(participant, "apple_pay")
    assert await agree(environment, participant) == second.view.payment_id
    await environment.phone(first)
    await environment.maintain(after=6)
    assert await agree(environment, participant) == first.view.payment_id
    assert "has no payment yet" in await agree(environment, other)


async def test_further_payments_of_a_participant_are_read_with_the_first(
    environment: ServiceEnvironment,
) -> None:
    statements: list[str] = []
    engine: Any = environment.ctx.db._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    participant, counts = await environment.participant(), list[int]()
    qr = await environment.start(participant)
    for others in (0, 1):
        statements.clear()
        view, rest = await views.latest_and_others(environment.ctx, participant)
        counts.append(len(statements))
        assert len(rest) == others
        card = await environment.start(participant, "apple_pay")
    assert counts[0] == counts[1]
    assert (view.payment_id, rest[0].payment_id) == (card.view.payment_id, qr.view.payment_id)


async def test_a_link_to_an_unpaid_payment_hides_nothing(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant)
    await link(environment, participant, PaymentStatus.PENDING)
    assert await agree(environment, participant) == opened.view.payment_id
    assert await paid_at_desk(environment, participant) == await agree(environment, participant)


async def test_a_payment_that_the_platform_took_by_itself(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await environment.start(participant)
    await link(environment, participant, PaymentStatus.COMPLETED)
    assert "which the platform took by itself" in await agree(environment, participant)


async def test_who_is_marked_as_paid_and_who_is_unknown(environment: ServiceEnvironment) -> None:
    participant = await environment.participant(status=ParticipantStatus.PAID)
    assert "is marked as paid by the platform" in await agree(environment, participant)
    assert "There is no participant" in await agree(environment, "nobody")


async def test_why_a_payment_failed_is_told_to_its_owner_in_plain_words(
    environment: ServiceEnvironment,
) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    await environment.pay_page(opened, "declined")
    await environment.deliver()
    assert await agree(environment, participant) == opened.view.payment_id


async def test_nothing_is_told_before_the_caller_may_read_it(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()

    def refuse(_owner: str) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        await views.standing(environment.ctx, participant, refuse, plain=True)
