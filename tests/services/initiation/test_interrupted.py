"""Interrupt ``initiate`` at any point: each object at the provider is of one payment, and no lock stays."""

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.storage.models.payments import PaymentDetail
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.patience import wait_until


def _is_free(path: Path | None) -> bool:
    """Return whether a SQLite file can be written: nobody holds its lock."""
    if path is None:
        return True
    probe = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        probe.execute("BEGIN IMMEDIATE")
        probe.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        probe.close()
    return True


@pytest.mark.parametrize("channel", [Channel.STRIPE_INTENT, Channel.STRIPE_CHECKOUT])
async def test_interrupted_at_every_point(environment: ServiceEnvironment, channel: Channel) -> None:
    rng = random.Random(3)
    path = environment.ctx.db.sqlite_path()
    for n in range(25):
        participant_id = await environment.participant()
        request = InitiateRequest(participant_id, PaymentMethod.APPLE_PAY, channel)
        for _ in range(2):
            task = asyncio.create_task(initiate(environment.ctx, request, CLERK))
            await asyncio.sleep(rng.uniform(0.0, 0.03))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await wait_until(lambda: _is_free(path))
        if n % 5 == 0:
            for d in await environment.rows(PaymentDetail):
                if d.participant_id == participant_id:
                    with contextlib.suppress(PaymentError):
                        await cancel(environment.ctx, d.payment_id, CLERK)
    await environment.maintain(after=60)
    details = await environment.rows(PaymentDetail)
    kind = "payment_intents" if channel is Channel.STRIPE_INTENT else "checkout/sessions"
    made = await environment.stripe_objects(kind)
    assert all(d.create_state is CreateState.OPEN for d in details)
    assert {m["id"] for m in made} == {d.provider_ref for d in details}
