"""Messages reach people and the platform: at least once, each destination by itself, whatever fails."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from procomp_pay.config import Settings
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.money import Currency
from procomp_pay.domain.notifications import ATTEMPTS, FAILED_MAIL_AFTER_S
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.notifications.senders import NotificationSenders
from procomp_pay.services.maintenance.health_alerts import alert_stalled_work
from procomp_pay.services.notifications import alerts, deliver, outbox
from procomp_pay.services.notifications.routing import route
from procomp_pay.services.registrations.changes import edit_participant
from procomp_pay.services.registrations.participants import Details
from procomp_pay.services.registrations.reminders import remind
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.views.page_link import public_page_url, reminders_url
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import User
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DeliveryState, OutboxState
from procomp_pay.storage.models.terms import TournamentFee
from procomp_pay.storage.notifications import outbox as outbox_store
from procomp_pay.storage.notifications.outbox import claim_deliveries, finish, may_route, put_off
from procomp_pay.storage.payments.repository import lock_payment
from procomp_pay.storage.reconciliation import discrepancies as discrepancies_store
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.receivers import MailBox, Receiver, mail_server, receiver
from tests.support.reconciliation import compare, line

SECRET = "whsec_" + "c2VjcmV0" * 4
D, S = Destination, DeliveryState


@pytest.fixture
async def box() -> AsyncIterator[MailBox]:
    async with mail_server() as made:
        yield made


@pytest.fixture
async def platform() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def chat() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def notified(
    environment: ServiceEnvironment, box: MailBox, platform: Receiver, chat: Receiver
) -> AsyncIterator[ServiceEnvironment]:
    """A desk that tells everybody."""
    async with connected(
        environment,
        smtp_url=f"smtp://127.0.0.1:{box.port}",
        mail_from="ProComp <pay@procomp.test>",
        mail_language="en",
        platform_webhook_url=f"{platform.url}/hooks",
        platform_webhook_secret=SECRET,
        alert_webhook_url=f"{chat.url}/services/T0/B0/x",
        alert_mail_to="ops@procomp.test, boss@procomp.test",
    ) as made:
        yield made


@asynccontextmanager
async def connected(environment: ServiceEnvironment, **settings: Any) -> AsyncIterator[ServiceEnvironment]:
    senders = NotificationSenders(Settings(_env_file=None, **settings))
    environment.ctx = replace(environment.ctx, senders=senders)
    try:
        yield environment
    finally:
        await senders.aclose()


async def paid(environment: ServiceEnvironment, **participant: Any) -> str:
    opened = await environment.paid(await environment.participant(**participant))
    return opened.view.payment_id


async def delivery_states(environment: ServiceEnvironment) -> dict[str, DeliveryState]:
    """Return the state of each delivery, by destination and recipient."""
    return {f"{d.destination}{d.recipient}": d.state for d in await environment.rows(Delivery)}


async def one(environment: ServiceEnvironment, destination: Destination) -> Delivery:
    [row] = [item for item in await environment.rows(Delivery) if item.destination is destination]
    assert isinstance(row, Delivery)
    return row


async def alert(
    environment: ServiceEnvironment, topic: str = Topic.ALERT_CIRCUIT, *, once: str = "1", **payload: Any
) -> None:
    await alerts.enqueue_alert(environment.ctx, Topic(topic), {"provider": "kaspi"} | payload, once=once)


async def test_a_paid_fee_is_told_to_the_participant_and_the_platform(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver, chat: Receiver
) -> None:
    payment = await paid(notified)
    assert box.to == ["p1@example.com"]
    assert payment in box.text()
    [(headers, body)] = platform.got
    event = Webhook(SECRET).verify(body, _now(headers))
    assert (event["type"], event["data"]["payment_id"]) == ("payment.received", payment)
    assert b'"amount":24000.00' in body, "exact"
    assert chat.got == [], "an alert is something else"
    mail, hook = await one(notified, D.PARTICIPANT_MAIL), await one(notified, D.PLATFORM_WEBHOOK)
    assert (mail.state, hook.state) == (S.DELIVERED, S.DELIVERED)
    assert headers["webhook-id"] == hook.id
    assert str(box.emails[0]["Message-ID"]) == f"<{mail.id}@procomp.test>"
    await notified.maintain()
    assert (len(box.emails), len(platform.got)) == (1, 1)


def _now(headers: dict[str, str]) -> dict[str, str]:
    """The headers, after a look at the time: a receiver refuses what is stale."""
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    return headers


async def test_the_signature_holds_for_every_secret_and_nothing_else(
    environment: ServiceEnvironment, platform: Receiver
) -> None:
    old, new = SECRET, "whsec_" + "bmV3a2V5" * 4
    settings = {"platform_webhook_url": platform.url, "platform_webhook_secret": f"{new}, {old}"}
    async with connected(environment, **settings):
        await paid(environment)
    [(headers, body)] = platform.got
    for secret in (old, new):
        Webhook(secret).verify(body, _now(headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "d3JvbmdX" * 4).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body.replace(b"24000", b"24001"), headers)


async def test_one_that_fails_does_not_repeat_the_other(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver
) -> None:
    platform.says = [500, (429, {"Retry-After": "900"}), 503]
    await paid(notified)
    assert (len(box.emails), len(platform.got)) == (1, 0)
    first = await one(notified, D.PLATFORM_WEBHOOK)
    assert (first.state, first.last_error) == (S.WAITING, "127.0.0.1 answered 500")
    await notified.maintain(after=20)
    wait = (await one(notified, D.PLATFORM_WEBHOOK)).next_attempt_at - notified.now()
    assert 880 < wait.total_seconds() <= 900, "the receiver asked for it"
    for _ in range(2):
        await notified.maintain(after=901)
    assert (len(box.emails), len(platform.got)) == (1, 1)
    ids = {headers["webhook-id"] for headers, _ in [*platform.refused, *platform.got]}
    bodies = {body for _, body in [*platform.refused, *platform.got]}
    assert (len(platform.refused), len(ids), len(bodies)) == (3, 1, 1)


async def test_a_receiver_that_hangs_holds_up_nobody(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notified.ctx.senders.platform()._hook, "_total_s", 1.0)
    platform.says = ["hang"]
    await paid(notified)
    assert len(box.emails) == 1
    row = await one(notified, D.PLATFORM_WEBHOOK)
    assert (row.state, row.last_error) == (S.WAITING, "127.0.0.1 did not answer in time")
    await notified.maintain(after=20)
    assert len(platform.got) == 1


async def test_what_is_refused_is_given_up_with_an_alert(
    notified: ServiceEnvironment, platform: Receiver, chat: Receiver, box: MailBox
) -> None:
    platform.says = [410]
    await paid(notified)
    assert (await one(notified, D.PLATFORM_WEBHOOK)).state is S.DEAD
    await notified.maintain()
    [text] = _chat_texts(chat)
    assert "could not be delivered by platform webhook" in text
    assert "`procomp-pay outbox replay --dead`" in text
    assert {"ops@procomp.test", "boss@procomp.test"} < set(box.to)
    assert "procomp-pay outbox show" in box.text()


async def test_after_the_last_attempt_it_is_a_dead_letter(
    notified: ServiceEnvironment, platform: Receiver, chat: Receiver
) -> None:
    platform.says = [500] * ATTEMPTS
    await paid(notified)
    waits = []
    while (row := await one(notified, D.PLATFORM_WEBHOOK)).state is S.WAITING:
        waits.append((row.next_attempt_at - notified.now()).total_seconds())
        await notified.maintain(after=4 * 3600)
    assert (row.state, row.attempts) == (S.DEAD, ATTEMPTS)
    assert all(small < 4 * large for small, large in pairwise(waits))
    assert (waits[0] < 15, max(waits) < 4 * 3600, sum(waits) > 12 * 3600) == (True, True, True)
    await notified.maintain()
    assert len(_chat_texts(chat)) == 1
    assert await outbox.replay_dead(notified.ctx, D.PLATFORM_WEBHOOK, dry_run=True) == 1
    assert await outbox.replay_dead(notified.ctx, D.PARTICIPANT_MAIL, dry_run=False) == 0
    assert await outbox.replay_dead(notified.ctx, None, dry_run=False) == 1
    await notified.maintain()
    assert [headers["webhook-id"] for headers, _ in platform.got] == [row.id], "under the id it had"


async def test_a_dead_alert_is_told_by_the_other_way_and_ends_there(
    notified: ServiceEnvironment, chat: Receiver, box: MailBox
) -> None:
    chat.says = [404]
    box.says = ["554 no"] * 8
    await alert(notified)
    for _ in range(6):
        await notified.maintain()
        notified.later(3700)
    messages = await notified.rows(OutboxMessage)
    assert sorted(m.topic for m in messages) == ["alert.circuit_open"] + ["alert.dead_letter"] * 3
    assert [m.state for m in messages].count(OutboxState.HELD) == 1, "both addresses are one broken way"
    assert sorted(d.state for d in await notified.rows(Delivery)) == [S.DEAD] * 5 + [S.DELIVERED]
    [text] = _chat_texts(chat)
    assert "could not be delivered by alert mail" in text
    assert len(box.says) == 4, "two e-mails of the alert, two of the chat's end, and no more"


async def test_the_mail_server_puts_us_off_then_takes_it(notified: ServiceEnvironment, box: MailBox) -> None:
    box.says = ["451 later", "421 too busy"]
    await paid(notified)
    assert box.emails == []
    assert "451" in str((await one(notified, D.PARTICIPANT_MAIL)).last_error)
    for _ in range(2):
        await notified.maintain(after=60)
    assert len(box.emails) == 1


@pytest.mark.parametrize(
    ("email", "rcpt", "state"),
    [
        ("p1@example.com", "550 no such user", S.UNDELIVERABLE),
        ("p1@example.com", "450 greylisted", S.WAITING),
        ("", None, S.UNDELIVERABLE),
        ("a@example.com\nBcc: all@example.com", None, S.UNDELIVERABLE),
    ],
)
async def test_an_address_that_is_none_is_not_tried_for_ever(
    notified: ServiceEnvironment,
    box: MailBox,
    chat: Receiver,
    email: str,
    rcpt: str | None,
    state: DeliveryState,
) -> None:
    opened = await notified.start(await notified.participant())
    async with notified.ctx.db.writing() as session:
        user = await session.get(User, "u-p1")
        assert user is not None
        user.email = email
    box.rcpt = [rcpt] if rcpt else []
    await notified.phone(opened)
    await notified.maintain(after=6)
    assert ((await one(notified, D.PARTICIPANT_MAIL)).state, box.emails) == (state, [])
    await notified.maintain()
    assert chat.got == [], "a participant's typing error wakes nobody"


async def test_an_alert_address_that_is_none_is_told_by_the_chat(
    notified: ServiceEnvironment, box: MailBox, chat: Receiver
) -> None:
    box.rcpt = ["550 no such user"]
    await alert(notified)
    await notified.maintain()
    await notified.maintain()
    assert [text.splitlines()[0] for text in _chat_texts(chat)] == [
        "*Kaspi does not answer*",
        "*A message could not be delivered by alert mail*",
    ]


async def test_a_letter_that_is_refused_is_given_up(notified: ServiceEnvironment, box: MailBox) -> None:
    box.says = ["554 looks like spam"]
    await paid(notified)
    assert (await one(notified, D.PARTICIPANT_MAIL)).state is S.DEAD


async def test_what_is_not_configured_is_written_down_and_can_be_made_good(
    environment: ServiceEnvironment, platform: Receiver
) -> None:
    payment = await paid(environment)
    [message] = await environment.rows(OutboxMessage)
    assert message.state is OutboxState.SKIPPED
    assert message.skipped == "not configured: participant_mail, platform_webhook"
    assert await environment.rows(Delivery) == []
    settings = {"platform_webhook_url": platform.url, "platform_webhook_secret": SECRET}
    async with connected(environment, **settings):
        await environment.maintain()
        assert platform.got == [], "yesterday's news is not told by itself"
        assert await outbox.replay_one(environment.ctx, message.id, dry_run=False) == 1
        await environment.maintain()
        assert payment in platform.got[0][1].decode()
        [message] = await environment.rows(OutboxMessage)
        assert (message.state, message.skipped) == (OutboxState.ROUTED, "not configured: participant_mail")
        platform.says = [500]
        await alert(environment)
        await paid(environment)
    async with connected(environment):
        await environment.maintain(after=60)
    assert {d.state for d in await environment.rows(Delivery)} == {S.DELIVERED, S.SKIPPED}


async def test_the_same_alert_is_told_once_an_hour_with_how_often(
    notified: ServiceEnvironment, chat: Receiver
) -> None:
    for number in range(4):
        await alert(notified, once=str(number))
    await notified.maintain()
    for number in range(4, 9):
        notified.later(300)
        await alert(notified, once=str(number))
        await notified.maintain()
    await alert(notified, once="other", provider="stripe")
    await notified.maintain()
    assert [text.splitlines()[0] for text in _chat_texts(chat)] == [
        "*Kaspi does not answer*",
        "*Stripe does not answer*",
    ]
    assert "The same happened 3 more times since the last alert." in _chat_texts(chat)[0]
    await notified.maintain(after=3600)
    assert len(_chat_texts(chat)) == 2, "what did not happen again is not told again"
    await alert(notified, once="again")
    await notified.maintain()
    assert "The same happened 5 more times" in _chat_texts(chat)[2]
    states = [m.state for m in await notified.rows(OutboxMessage)]
    assert states.count(OutboxState.HELD) == 8


async def test_a_discrepancy_is_told_once(notified: ServiceEnvironment, chat: Receiver) -> None:
    payment = await paid(notified)
    for _ in range(2):
        async with notified.ctx.db.writing() as session:
            await discrepancies_store.open_discrepancy(
                session, DiscrepancyKind.MISSING_AT_PROVIDER, payment, {}, key="k",
                row_id=notified.ctx.new_id(), now=notified.now(),
            )  # fmt: skip
        await notified.maintain()
    [text] = _chat_texts(chat)
    assert text.startswith("*Our records and the provider's differ: missing at provider*")
    assert f"payment {payment} is COMPLETED" in text
    [row] = await notified.rows(Discrepancy)
    assert f"`procomp-pay discrepancies show {row.id}`" in text


async def test_a_late_payment_comes_as_one_alert(notified: ServiceEnvironment, chat: Receiver) -> None:
    opened = await notified.start(await notified.participant(full_name="<!channel> *A* & `B`"))
    async with notified.ctx.db.writing() as session:
        locked = await lock_payment(session, opened.view.payment_id)
        locked.payment.status = PaymentStatus.EXPIRED
    await notified.phone(opened)
    await notified.maintain(after=6)
    [text] = _chat_texts(chat)
    assert text.startswith("*Late payment: 24\u00a0000.00\u00a0KZT from &lt;!channel&gt; ∗A∗ &amp; ˋBˋ*\n")
    assert f"`procomp-pay history {opened.view.participant_id}`" in text


async def test_a_try_that_failed_is_not_told_once_another_one_worked(
    notified: ServiceEnvironment, box: MailBox
) -> None:
    opened = await notified.start(await notified.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    intent = str(opened.view.provider_ref)
    await notified.confirm(intent, "pm_card_chargeDeclined")
    await notified.deliver()
    await notified.maintain()
    assert box.emails == []
    assert (await one(notified, D.PLATFORM_WEBHOOK)).state is S.DELIVERED, "a program is told at once"
    await notified.confirm(intent, "pm_card_visa")
    notified.later(FAILED_MAIL_AFTER_S + 1)
    await notified.deliver()
    await notified.maintain()
    assert [str(email["Subject"]) for email in box.emails] == ["Payment received: Almaty Open"]


async def test_a_declined_card_is_told_after_a_while(notified: ServiceEnvironment, box: MailBox) -> None:
    opened = await notified.start(await notified.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    await notified.confirm(str(opened.view.provider_ref), "pm_card_chargeDeclined")
    await notified.deliver()
    await notified.maintain()
    await notified.maintain(after=FAILED_MAIL_AFTER_S + 1)
    assert [str(email["Subject"]) for email in box.emails] == ["Payment did not go through: Almaty Open"]


async def test_only_the_last_of_two_moves_is_told_by_mail(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver
) -> None:
    payment = await paid(notified)
    [first] = [row.participant_id for row in await notified.rows(PaymentDetail)]
    others = [await notified.participant(tournament_id=f"t-{first}") for _ in range(2)]
    for former, to in pairwise([first, *others]):
        await move_payment(notified.ctx, payment, to, CLERK, reason="the brother", former_id=former)
    await notified.maintain()
    assert box.to == ["p1@example.com", "p3@example.com"]
    events = [json.loads(body)["data"]["participant_id"] for _, body in platform.got]
    assert sorted(events) == sorted([first, *others]), "the platform is told each"


async def test_two_workers_deliver_each_once(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver, database_url: str
) -> None:
    for number in range(30):
        async with notified.ctx.db.writing() as session:
            await outbox_store.enqueue(
                session,
                Topic.PAYMENT_RECEIVED,
                {"n": number},
                row_id=notified.ctx.new_id(),
                now=notified.now(),
            )
    other = PaymentDatabaseService(database_url)
    desks = [notified.ctx, replace(notified.ctx, db=other)]
    assert await route(notified.ctx) == 30
    rounds = await asyncio.gather(*(deliver.deliver_due(ctx) for ctx in desks))
    await other.dispose()
    assert sum(item.delivered for item in rounds) == 30
    numbers = [json.loads(body)["data"]["n"] for _, body in platform.got]
    assert sorted(numbers) == list(range(30))
    if not notified.ctx.db.is_sqlite():
        assert all(item.delivered for item in rounds), "both had a share"


async def test_two_routers_tell_the_same_alert_once(
    notified: ServiceEnvironment, chat: Receiver, database_url: str
) -> None:
    for number in range(8):
        await alert(notified, once=str(number))
    other = PaymentDatabaseService(database_url)
    if not other.is_sqlite():  # which has one writer at a time
        async with other.writing() as session:
            assert await may_route(session)
            assert await route(notified.ctx) == 0, "another one is at it"
    for _ in range(4):
        await asyncio.gather(
            *(route(replace(notified.ctx, db=db), limit=1) for db in (notified.ctx.db, other))
        )
    await other.dispose()
    await notified.maintain()
    assert len(chat.got) == 1


async def test_one_that_kills_its_process_is_given_up_in_the_end(
    notified: ServiceEnvironment, platform: Receiver
) -> None:
    platform.says = [500]
    await paid(notified)
    async with notified.ctx.db.writing() as session:
        row = await session.get(Delivery, (await one(notified, D.PLATFORM_WEBHOOK)).id)
        assert row is not None
        row.attempts = ATTEMPTS  # claimed so often, and never marked
    await notified.maintain(after=60)
    row = await one(notified, D.PLATFORM_WEBHOOK)
    assert (row.state, row.last_error) == (S.DEAD, "the process ended during every attempt")


async def test_who_comes_late_does_not_undo_what_another_one_delivered(
    notified: ServiceEnvironment, platform: Receiver
) -> None:
    platform.says = [500]
    await paid(notified)
    notified.later(60)
    async with notified.ctx.db.writing() as session:
        [slow] = await claim_deliveries(session, D.PLATFORM_WEBHOOK, notified.now(), lease_s=120, limit=9)
    await notified.maintain(after=121)
    assert len(platform.got) == 1
    async with notified.ctx.db.writing() as session:
        await put_off(session, slow, notified.now(), "too late")
        assert not await finish(session, slow, S.DEAD, now=notified.now(), error="too late")
    assert (await one(notified, D.PLATFORM_WEBHOOK)).state is S.DELIVERED


async def test_work_that_stands_still_is_told(notified: ServiceEnvironment, chat: Receiver) -> None:
    await notified.start(await notified.participant())
    assert await alert_stalled_work(notified.ctx) == 0
    notified.later(3600)
    assert await alert_stalled_work(notified.ctx) == 1
    assert await alert_stalled_work(notified.ctx) == 1, "and is one alert"
    await deliver.deliver_due(notified.ctx)
    [text] = _chat_texts(chat)
    assert text.startswith("*Background work has stalled: payments*")
    assert "`procomp-pay doctor`" in text


def _chat_texts(chat: Receiver) -> list[str]:
    return [json.loads(body)["text"] for _, body in chat.got]


async def test_a_reminder_goes_once_a_day_to_those_whose_fee_is_due(
    notified: ServiceEnvironment, box: MailBox, platform: Receiver
) -> None:
    assert await notified.participant() == "p1"
    notified.ctx = replace(notified.ctx, is_public=True, base_url="https://pay.procomp.test")
    opened = await notified.start(await notified.participant(), "apple_pay")
    for name in ("p1", "p2"):
        nothing = await remind(notified.ctx, f"t-{name}", dry_run=True)
        assert [view.participant_id for view in nothing.reminded] == [name]
    assert await notified.rows(OutboxMessage) == []
    for name in ("p1", "p2"):
        assert len((await remind(notified.ctx, f"t-{name}")).reminded) == 1
        again = await remind(notified.ctx, f"t-{name}")
        assert ([], [name]) == (again.reminded, [view.participant_id for view in again.already])
    await notified.maintain()
    assert sorted(box.to) == ["p1@example.com", "p2@example.com"]
    due, started = [box.text(n) for n in sorted(range(2), key=lambda n: box.to[n])]
    assert "The entry fee is not paid yet" in due
    assert "Start the payment in the app or at the registration desk." in due
    link = public_page_url(notified.ctx, opened.view)
    assert link is not None
    assert link in started.replace("=\n", "")
    stop = reminders_url(notified.ctx, "p1")
    assert stop is not None
    assert f"No more reminders: {stop}" in due
    first = box.emails[box.to.index("p1@example.com")]
    assert (first["List-Unsubscribe"], first["List-Unsubscribe-Post"]) == (
        f"<{stop}>",
        "List-Unsubscribe=One-Click",
    )
    assert platform.got == [], "the platform is not told"
    notified.later(24 * 3600)
    assert len((await remind(notified.ctx, "t-p1")).reminded) == 1, "the next day"
    stopped = Details(reminders=False)
    await edit_participant(notified.ctx, "p1", CLERK, details=stopped)
    await notified.maintain()
    assert box.to.count("p1@example.com") == 1, "they asked for none before it was sent"
    notified.later(24 * 3600)
    result = await remind(notified.ctx, "t-p1")
    assert (result.reminded, [view.participant_id for view in result.opted_out]) == ([], ["p1"])


async def test_who_pays_before_the_reminder_is_sent_gets_none(
    notified: ServiceEnvironment, box: MailBox
) -> None:
    opened = await notified.start(await notified.participant())
    await remind(notified.ctx, "t-p1")
    await notified.phone(opened)
    await notified.maintain(after=6)
    assert "The entry fee is not paid yet" not in "".join(box.text(n) for n in range(len(box.to)))
    assert (await remind(notified.ctx, "t-p1")).reminded == []


async def test_after_a_restore_who_may_have_paid_gets_no_reminder(
    notified: ServiceEnvironment, box: MailBox
) -> None:
    payer, poor = await notified.participant(), await notified.participant()
    for name in (payer, poor):
        assert len((await remind(notified.ctx, f"t-{name}")).reminded) == 1
    async with notified.ctx.db.writing() as session:
        await session.delete(await session.get_one(TournamentFee, (f"t-{poor}", Currency.KZT)))
    lines = [line(5, "700000005", notified.now(), "24000.00 KZT")]
    await compare(notified, lines, "kaspi", is_ours=True, recover=True)
    await notified.maintain()
    assert [to for to in box.to if to.startswith("p")] == [f"{poor}@example.com"], "nor the one that waits"
    planned = await remind(notified.ctx, f"t-{payer}", dry_run=True)
    unsure = [view.participant_id for view in planned.may_have_paid]
    assert (planned.reminded, planned.already, unsure) == ([], [], [payer])
    assert planned.number == "700000005"
