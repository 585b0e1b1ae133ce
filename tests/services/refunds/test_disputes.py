"""Several disputes over one payment: each that is open or lost holds its money back, and is seen."""

import pytest

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, Refused
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.services.lifecycle.polling import refresh_payment
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments.repository import load_payment, lock_payment
from procomp_pay.storage.reconciliation.discrepancies import Difference, holding_dispute, keep
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.stripe_payments import back, disputed, paid

R = RefundState


@pytest.mark.parametrize(
    ("states", "final"),
    [
        ([("lost", 10), ("won", 20)], DisputeState.WON),
        ([("won", 10), ("lost", 20)], DisputeState.LOST),
        ([("lost", 20), ("won", 10)], DisputeState.LOST),
        ([("lost", 20), ("needs_response", 30)], DisputeState.LOST),
        ([("needs_response", 10), ("prevented", 20)], DisputeState.WON),
    ],
)
async def test_the_banks_newest_final_state_of_a_dispute_wins(
    environment: ServiceEnvironment, states: list[tuple[str, int]], final: DisputeState
) -> None:
    await paid(environment)
    for number, (status, at) in enumerate(states):
        await disputed(environment, number, status, at=at)
    [detail] = await environment.rows(PaymentDetail)
    assert detail.dispute_state is final


@pytest.mark.parametrize(
    ("states", "held"),
    [
        ([("du_1", "needs_response"), ("du_2", "needs_response"), ("du_1", "won")], True),
        ([("du_1", "lost"), ("du_2", "needs_response"), ("du_2", "won")], True),
        ([("du_2", "needs_response"), ("du_1", "lost"), ("du_2", "won")], True),
        ([("du_1", "won"), ("du_2", "needs_response"), ("du_2", "won")], False),
        ([("du_1", "needs_response"), ("du_2", "needs_response"), ("du_2", "won")], True),
        ([("du_1", "needs_response"), ("du_2", "needs_response"), ("du_2", "won"), ("du_1", "won")], False),
        ([("du_1", "lost"), ("du_2", "lost"), ("du_2", "won")], True),
    ],
)
async def test_a_dispute_that_ends_does_not_hide_another_one(
    environment: ServiceEnvironment, states: list[tuple[str, str]], held: bool
) -> None:
    opened = await paid(environment)
    for number, (dispute, status) in enumerate(states):
        await disputed(environment, number, status, dispute)
    alerts = [m for m in await environment.rows(OutboxMessage) if m.topic == "alert.dispute"]
    assert len(alerts) == len(states)
    if held:
        with pytest.raises(Conflict, match="twice"):
            await back(environment, opened)
    else:
        assert (await back(environment, opened)).state is R.SUCCEEDED


@pytest.mark.parametrize("way", ["reconcile", "fix"])
async def test_a_dispute_beside_the_first_one_is_asked_about(
    environment: ServiceEnvironment, way: str
) -> None:
    opened = await paid(environment)
    await disputed(environment, 1, "needs_response", "du_1")
    intent = await reconciliation.intent_of(environment, opened)
    second = await environment.http.post(f"/_sandbox/stripe/payment_intents/{intent}/dispute", json={})
    await environment.deliver()
    [row] = await reconciliation.open_rows(environment)
    assert row.fingerprint == f"STATUS_MISMATCH:{opened.view.payment_id}:{second.json()['id']}"

    async def look() -> None:
        if way == "reconcile":
            await reconciliation.run(environment)
        else:
            await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.FIX, "asked Stripe", CLERK)

    if way == "reconcile":
        await look()
    else:
        with pytest.raises(ManualReviewRequired, match="another dispute"):
            await look()
    assert [each.id for each in await reconciliation.open_rows(environment)] == [row.id]
    closed = await environment.http.post(
        f"/_sandbox/stripe/disputes/{second.json()['id']}/close", json={"won": True}
    )
    assert closed.status_code == 200
    await look()  # its webhook was missed
    assert await reconciliation.open_rows(environment) == []
    with pytest.raises(Conflict, match="twice"):
        await back(environment, opened)
    await disputed(environment, 2, "won", "du_1")
    with pytest.raises(Refused, match="has been charged back"):  # by the sandbox's Stripe, not by us
        await back(environment, opened)


async def happens(environment: ServiceEnvironment, *steps: str) -> None:
    """Deliver states of disputes, such as ``1 won`` and ``1 won at 5`` seconds from now; ``accept`` the open
    discrepancy."""
    for number, step in enumerate(steps, start=100 * len(await environment.rows(WebhookEvent))):
        if step == "accept":
            [row] = await reconciliation.open_rows(environment)
            await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.ACCEPT, "seen", CLERK)
        else:
            name, status, *at = step.replace(" at ", " ").split()
            await disputed(
                environment, number, {"open": "needs_response"}.get(status, status), f"du_{name}",
                at=int(at[0]) if at else None,
            )  # fmt: skip


async def seen(environment: ServiceEnvironment) -> tuple[str, set[str]]:
    """Return the dispute that is shown with the payment, and those whose discrepancies are open."""
    [detail] = await environment.rows(PaymentDetail)
    rows = await reconciliation.open_rows(environment)
    return f"{detail.dispute_id} {detail.dispute_state}", {row.fingerprint.split(":")[2] for row in rows}


@pytest.mark.parametrize(
    ("steps", "shown", "beside", "held"),
    [
        # a decision about the discrepancy is none about the dispute
        (["1 open", "2 open", "accept", "1 won"], "du_1 won", set(), True),
        (["1 open", "2 open", "accept", "1 won", "2 won"], "du_2 won", set(), False),
        (["1 lost", "2 open", "accept", "2 warning_needs_response"], "du_1 lost", set(), True),
        # what was decided is seen again when it gets worse
        (["1 lost", "2 open", "accept", "2 lost"], "du_1 lost", {"du_2"}, True),
        (["1 lost", "2 open", "accept", "2 won", "2 lost"], "du_1 lost", {"du_2"}, True),
        (["1 lost", "2 open", "2 won", "2 lost", "1 won"], "du_1 won", {"du_2"}, True),
        (["1 lost", "2 open", "2 won", "2 lost", "1 won", "2 won"], "du_2 won", set(), False),
        # one that is shown with the payment has no open discrepancy
        (["1 open", "2 open", "2 lost"], "du_2 lost", {"du_1"}, True),
        (["1 open", "2 open", "2 lost", "1 won"], "du_2 lost", set(), True),
        (["1 open", "2 open", "1 won", "2 lost"], "du_2 lost", set(), True),
        (["1 open", "2 open", "2 lost", "1 lost", "2 won"], "du_2 won", {"du_1"}, True),
        (["1 open", "2 open", "2 lost", "1 lost", "2 won", "1 lost"], "du_1 lost", set(), True),
        (["1 open", "2 open", "1 won", "2 open", "1 lost"], "du_1 lost", {"du_2"}, True),
        # what is older than what is known
        (["1 lost", "2 open", "2 won", "2 open", "1 won"], "du_1 won", set(), False),
        (["1 lost", "2 lost at 30", "2 won at 20", "1 won"], "du_1 won", {"du_2"}, True),
        (["1 lost", "2 open", "2 won at 30", "2 lost at 20", "1 won"], "du_1 won", set(), False),
    ],
)
async def test_each_dispute_holds_refunds_back_until_it_is_won(
    environment: ServiceEnvironment, steps: list[str], shown: str, beside: set[str], held: bool
) -> None:
    opened = await paid(environment)
    await happens(environment, *steps)
    assert await seen(environment) == (shown, beside)
    if held:
        with pytest.raises(Conflict, match="twice"):
            await back(environment, opened)
        assert (await back(environment, opened, force=True)).state is R.SUCCEEDED
    else:
        assert (await back(environment, opened)).state is R.SUCCEEDED


@pytest.mark.parametrize("last", ["open", "lost", "won"])
async def test_a_payment_is_not_moved_while_a_dispute_beside_a_won_one_is_not(
    environment: ServiceEnvironment, last: str
) -> None:
    wrong = await environment.participant()
    right = await environment.participant(tournament_id=f"t-{wrong}")
    opened = await paid(environment, participant_id=wrong)
    payment_id = opened.view.payment_id
    await happens(environment, "1 lost", f"2 {last}", *(["accept"] if last != "won" else []), "1 won")

    async def move() -> None:
        await move_payment(environment.ctx, payment_id, right, CLERK, reason="brother", former_id=wrong)

    if last == "won":
        await move()
    else:
        with pytest.raises(Conflict, match=f"is {last}: its money may go back"):
            await move()


async def test_what_was_decided_before_is_kept_when_a_dispute_is_lost_again(
    environment: ServiceEnvironment,
) -> None:
    await paid(environment)
    await happens(environment, "1 lost", "2 open", "accept", "2 won", "2 lost")
    [row] = await reconciliation.open_rows(environment)
    assert (row.detail["dispute_state"], row.detail["theirs"]["stand"]) == ("lost", "paid")
    assert row.detail["before"] == {"resolution": "accept", "by": CLERK.name, "note": "seen"}
    assert (row.resolution, row.note, row.resolved_by, row.resolved_at) == (None,) * 4
    await happens(environment, "2 won at 9999")
    [row] = await environment.rows(Discrepancy)
    assert (row.resolution, row.note, row.detail["theirs"]["stand"]) == (
        "gone",
        "The dispute was won.",
        "ended",
    )


async def test_a_discrepancy_of_the_dispute_that_is_shown_is_closed_by_the_same_news_again(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment)
    await happens(environment, "1 open", "2 open")
    async with environment.ctx.db.writing() as session:  # as it was left by earlier versions
        detail = (await lock_payment(session, opened.view.payment_id)).detail
        detail.dispute_id, detail.dispute_state = "du_2", DisputeState.LOST
    assert await seen(environment) == ("du_2 lost", {"du_2"})
    await happens(environment, "2 lost at 9999")
    assert await seen(environment) == ("du_2 lost", set())


async def test_a_reconciliation_that_finds_the_difference_again_keeps_what_is_known_of_the_dispute(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment)
    await happens(environment, "1 lost", "2 open", "2 won")
    [row] = await environment.rows(Discrepancy)
    found = Difference(
        row.fingerprint, DiscrepancyKind.STATUS_MISMATCH, "stripe", row.payment_id, {"what": "x"}
    )
    async with environment.ctx.db.writing() as session:
        assert await keep(session, [found], ids=["d2"], run_id=None, now=environment.now()) == ["reopened"]
    await happens(environment, "2 open", "1 won")  # older than what is known
    [row] = await reconciliation.open_rows(environment)
    assert (row.detail["what"], row.detail["dispute_state"]) == ("x", "won")
    assert (await back(environment, opened)).state is R.SUCCEEDED


@pytest.mark.parametrize("is_beside", [False, True])
@pytest.mark.parametrize("stored", ["open", "lost"])
async def test_a_refresh_learns_of_a_dispute_that_was_won_since(
    environment: ServiceEnvironment, stored: str, *, is_beside: bool
) -> None:
    """The event of its end was missed, and ``reconcile`` lists disputes by the day on which they began."""
    opened = await paid(environment)
    if is_beside:  # after another one, by a discrepancy that somebody accepted
        await disputed(environment, 1, "lost", "du_1")
    intent = await reconciliation.intent_of(environment, opened)
    url = f"/_sandbox/stripe/payment_intents/{intent}/dispute"
    dispute = (await environment.http.post(url, json={})).json()["id"]
    await environment.deliver()
    if stored == "lost":
        await disputed(environment, 2, "lost", dispute)
    if is_beside:
        await disputed(environment, 3, "won", "du_1", at=5)
        for row in await reconciliation.open_rows(environment):
            await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.ACCEPT, "so it is", CLERK)
    with pytest.raises(Conflict, match="twice") as refused:
        await back(environment, opened)
    command = f"procomp-pay status --payment {opened.view.payment_id} --refresh"
    assert command in str(refused.value.next_step)
    assert await refresh_payment(environment.ctx, opened.view.payment_id, CLERK)
    with pytest.raises(Conflict, match="twice"):  # Stripe has not ended it, or not won
        await back(environment, opened)
    closed = await environment.http.post(f"/_sandbox/stripe/disputes/{dispute}/close", json={"won": True})
    assert closed.status_code == 200
    environment.later(2)
    assert await refresh_payment(environment.ctx, opened.view.payment_id, CLERK)
    async with environment.ctx.db.reading() as session:
        detail = (await load_payment(session, opened.view.payment_id)).detail
        assert await holding_dispute(session, detail) is None
    with pytest.raises(Refused, match="has been charged back"):  # by the sandbox's Stripe, not by us
        await back(environment, opened)
