"""Labels that only the platform knows: rows with them are read, shown and left alone."""

import pytest

from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.maintenance.adoption import adopt
from procomp_pay.services.maintenance.health_alerts import alert_unknown_labels
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks import kaspi_bill_account as bill
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.labels import relabel

S = PaymentStatus


async def paid_by_card(environment: ServiceEnvironment) -> Opening:
    opened = await environment.paid(method="apple_pay")
    assert await environment.status(opened) is S.COMPLETED
    return opened


async def discrepancies(environment: ServiceEnvironment) -> list[tuple[str, str | None]]:
    return [(row.kind, row.payment_id) for row in await environment.rows(Discrepancy)]


async def test_money_for_a_status_that_is_not_ours(
    environment: ServiceEnvironment, database_url: str
) -> None:
    """It waits for a person, once, and the other events of the batch are settled."""
    held, other = [await environment.start(method="apple_pay") for _ in range(2)]
    relabel(database_url, "Payment", "status", "HELD", held.view.payment_id)
    for opened in (held, other):
        await environment.pay_page(opened)
    await environment.deliver()
    await environment.deliver()
    view = await environment.view(held)
    assert (view.status, view.status.value, await environment.status(other)) == ("HELD", "HELD", S.COMPLETED)
    row = await environment.read_participant(held.view.participant_id)
    assert (row.status, row.payment_id) == (ParticipantStatus.REGISTERED, None)
    assert await discrepancies(environment) == [("STATUS_MISMATCH", held.view.payment_id)]
    topics = [row.topic for row in await environment.rows(OutboxMessage)]
    assert topics.count("alert.discrepancy") == 1
    assert {row.state for row in await environment.rows(WebhookEvent)} <= {"done", "ignored"}


async def test_a_paid_payment_is_refunded_at_the_provider(
    environment: ServiceEnvironment, database_url: str
) -> None:
    """The refund is booked, the status stays the platform's, and repeated events open nothing."""
    opened = await paid_by_card(environment)
    relabel(database_url, "Payment", "status", "DISPUTED", opened.view.payment_id)
    [intent] = await environment.stripe_objects("payment_intents")
    answer = await environment.http.post(
        "/v1/refunds", data={"payment_intent": intent["id"]}, headers=environment._stripe_auth()
    )
    assert answer.status_code == 200, answer.text
    await environment.deliver()
    view = await environment.view(opened)
    assert (view.status, view.refunded) == ("DISPUTED", view.charged)
    assert await discrepancies(environment) == []
    with pytest.raises(Conflict, match="is DISPUTED"):
        await refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)


@pytest.mark.parametrize("status", ["DISPUTED", None])
async def test_reconciliation_compares_the_money(
    environment: ServiceEnvironment, database_url: str, status: str | None
) -> None:
    opened = await paid_by_card(environment)
    waiting = await environment.start(method="apple_pay")
    await environment.pay_page(waiting)
    if status is not None:
        relabel(database_url, "Payment", "status", status, opened.view.payment_id)
    relabel(database_url, "Payment", "status", "HELD", waiting.view.payment_id)
    relabel(database_url, "Participant", "status", "CHECKED_IN", opened.view.participant_id)
    await reconcile(environment.ctx, ReconcileRequest("stripe"), CLERK)
    assert await discrepancies(environment) == [("STATUS_MISMATCH", waiting.view.payment_id)]


async def test_operators_are_refused_in_words(environment: ServiceEnvironment, database_url: str) -> None:
    opened = await environment.start()
    relabel(database_url, "Payment", "status", "HELD", opened.view.payment_id)
    with pytest.raises(Conflict, match="is HELD, which only the platform knows"):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    with pytest.raises(Conflict, match="is HELD, which only the platform knows"):
        await verify(environment.ctx, VerificationRequest(opened.view.payment_id, "190000001"), CLERK)


async def test_a_registration_with_a_status_that_is_not_ours(
    environment: ServiceEnvironment, database_url: str
) -> None:
    participant = await environment.participant()
    opened = await environment.start(participant, "apple_pay")
    relabel(database_url, "Participant", "status", "WAITLISTED", participant)
    with pytest.raises(Conflict, match="WAITLISTED, which only the platform knows"):
        await environment.start(participant)
    async with environment.ctx.db.reading() as session:
        status = await bill.account_status(session, await bill.find(session, participant, environment.now()))
    assert status.result is Result.OTHER
    await environment.pay_page(opened)
    await environment.deliver()
    row = await environment.read_participant(participant)
    assert (row.status, row.payment_id, await environment.status(opened)) == ("WAITLISTED", None, S.COMPLETED)
    assert await discrepancies(environment) == [("PARTICIPANT_MISMATCH", opened.view.payment_id)]


async def test_a_fee_in_a_currency_that_is_not_ours(
    environment: ServiceEnvironment, database_url: str
) -> None:
    participant = await environment.participant()
    relabel(database_url, "Tournament", "currency", "UZS", f"t-{participant}")
    with pytest.raises(Refused, match="is in UZS, a currency that procomp-pay does not take"):
        await environment.start(participant, "apple_pay")
    opened = await environment.start(participant)
    assert opened.view.charged.currency is Currency.KZT
    [row] = await environment.rows(Tournament)
    assert isinstance(row.currency, UnknownLabel)


async def test_adoption_names_them(environment: ServiceEnvironment, database_url: str) -> None:
    now, ids = environment.now(), []
    for column, label in (("status", "HELD"), ("currency", "UZS")):
        participant = await environment.participant()
        async with environment.ctx.db.writing() as session:
            session.add(
                Payment(
                    id=f"platform-{column}", amount=50, user_id=f"u-{participant}",
                    tournament_id=f"t-{participant}", meta={"participantId": participant},
                    method="APPLE_PAY", stripe_payment_id=f"pi_{column}", created_at=now, updated_at=now,
                )
            )  # fmt: skip
        relabel(database_url, "Payment", column, label, f"platform-{column}")
        ids.append((f"platform-{column}", f"has the {column} {label}, which procomp-pay does not know"))
    report = await adopt(environment.ctx, CLERK)
    assert (report.taken, sorted(report.named)) == (0, sorted(ids))


async def test_one_alert_for_each_label(environment: ServiceEnvironment, database_url: str) -> None:
    opened = await environment.start()
    await alert_unknown_labels(environment.ctx)
    relabel(database_url, "Payment", "method", "CASH", opened.view.payment_id)
    for _ in range(2):
        await alert_unknown_labels(environment.ctx)
    rows = [
        row.payload for row in await environment.rows(OutboxMessage) if row.topic == "alert.unknown_label"
    ]
    assert rows == ([] if environment.ctx.db.is_sqlite() else [{"label": "PaymentMethod CASH"}])
    await environment.maintain()


async def test_only_what_was_read_is_written(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    with pytest.raises(Exception, match="BOGUS"):
        async with environment.ctx.db.writing() as session:
            (await session.get_one(Payment, opened.view.payment_id)).method = "BOGUS"
