"""Two processes' worth of desks on one database: everything at once, then the books must agree.

``PROCOMP_SEEDS=20`` for more than one story.
"""

import asyncio
import os
import random
from dataclasses import replace

import pytest

from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.webhooks.batch import handle_due
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from tests.support.environment import CLERK, ServiceEnvironment

SEEDS = int(os.environ.get("PROCOMP_SEEDS", "1"))


@pytest.mark.parametrize("seed", range(1, 1 + SEEDS))
async def test_everything_at_once(  # noqa: C901, PLR0915 - one long story
    environment: ServiceEnvironment, database_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    db2 = PaymentDatabaseService(database_url)
    desks = [environment.ctx, replace(environment.ctx, db=db2)]
    bugs: list[BaseException] = []

    async def quiet(work) -> None:
        await asyncio.sleep(rng.uniform(0, 0.4))
        try:
            await work
        except PaymentError:
            pass
        except Exception as error:
            bugs.append(error)

    async def start(ctx, participant_id, method):
        channel = {
            "KASPI_QR": Channel.KASPI_QR,
            "APPLE_PAY": Channel.STRIPE_CHECKOUT,
            "GOOGLE_PAY": Channel.STRIPE_INTENT,
        }[method]
        await initiate(ctx, InitiateRequest(participant_id, PaymentMethod(method), channel), CLERK)

    async def events(ctx):
        for event in await environment.events():
            await environment.receive(event)
        while await handle_due(ctx):
            pass

    try:
        for _ in range(8):
            participant_id = await environment.participant()
            await quiet(start(desks[0], participant_id, rng.choice(["APPLE_PAY", "GOOGLE_PAY", "KASPI_QR"])))
            [p] = [d for d in await environment.rows(PaymentDetail) if d.participant_id == participant_id]
            jobs = []
            if p.channel is Channel.STRIPE_CHECKOUT:
                jobs.append(environment.http.post(str(p.payment_url), json={"wallet": "apple_pay"}))
            elif p.channel is Channel.STRIPE_INTENT:
                jobs.append(environment.confirm(str(p.provider_ref), "pm_google_pay"))
            else:
                token = environment.ctx.keyring.decrypt(str(p.qr_token_enc))
                jobs.append(environment.http.post(f"/pay/{token}", json={"action": "pay"}))
            for n in range(3):
                d = desks[n % 2]
                jobs += [
                    start(d, participant_id, "KASPI_QR"),
                    start(d, participant_id, "APPLE_PAY"),
                    poll_payment(d, p.payment_id),
                    cancel(d, p.payment_id, CLERK),
                    events(d),
                    poll_payment(desks[1 - n % 2], p.payment_id),
                ]
            rng.shuffle(jobs)
            await asyncio.gather(*(quiet(j) for j in jobs))
        for _ in range(7):
            await quiet(events(desks[1]))
            await environment.maintain(after=700)
    finally:
        await db2.dispose()
    assert not bugs, bugs
    payments = {x.id: x for x in await environment.rows(Payment)}
    details = {x.payment_id: x for x in await environment.rows(PaymentDetail)}
    paid_at_stripe = {
        i["metadata"]["payment_id"]
        for i in await environment.stripe_objects("payment_intents")
        if i["status"] == "succeeded"
    }
    kaspi = (await environment.http.get("/_sandbox/kaspi/payments")).json()
    paid_refs = {str(row["QrPaymentId"]) for row in kaspi if row["Status"] == "Processed"}
    for one in paid_at_stripe:
        assert payments[one].status is PaymentStatus.COMPLETED
    for one in details.values():
        if one.channel.is_kaspi and one.provider_ref in paid_refs:
            assert payments[one.payment_id].status is PaymentStatus.COMPLETED
    done = {x for x, row in payments.items() if row.status is PaymentStatus.COMPLETED}
    assert len(done) == len(paid_at_stripe) + len(paid_refs)
    for one in await environment.rows(Participant):
        mine = {x for x in done if details[x].participant_id == one.id}
        assert (one.status is ParticipantStatus.PAID) == bool(mine)
        assert not mine or one.payment_id in mine
    prev: dict[str, AuditEntry] = {}
    for entry in sorted(await environment.rows(AuditEntry), key=lambda e: (e.payment_id, e.seq)):
        before = prev.get(entry.payment_id)
        assert entry.prev_hash == (before.hash if before else audit.GENESIS)
        assert entry.hash == audit.entry_hash(entry)
        prev[entry.payment_id] = entry
    zombies = [x for x, d in details.items() if not d.provider_open and d.next_poll_at is not None]
    still = [(payments[x].status.value, d.create_state.value) for x, d in details.items() if d.provider_open]
    assert not still, still
    assert not zombies, (
        f"{len(zombies)} of {len(details)} payments that are over stay in the due queue for ever"
    )
