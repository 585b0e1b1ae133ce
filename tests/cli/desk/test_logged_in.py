"""A desk that stays open when its operator may no longer act."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from procomp_pay.domain.operators import Credentials, Role
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import accounts
from procomp_pay.services.operators.logins import Login, acting, log_in, log_out
from tests.cli.desk.conftest import OpenDesk
from tests.cli.desk.test_desk import start

PIN = "640287"


@pytest.mark.parametrize("how", ["disabled", "logged out", "another role"])
async def test_an_open_desk_does_nothing_for_who_may_no_longer_act(open_desk: OpenDesk, how: str) -> None:
    made: list[Login] = []

    async def login(ctx: AppContext) -> AppContext:
        await accounts.add(ctx, "aigerim", Role.ADMIN, by="root", pin=PIN)
        await accounts.add(ctx, "dana", Role.ADMIN, by="root", pin="258014")
        made.append(await log_in(ctx, "aigerim", PIN, "uid 1"))
        credentials = Credentials("aigerim", "uid 1", made[0].token)
        return replace(ctx, operator=await acting(ctx, credentials), credentials=credentials)

    async with open_desk(login=login) as desk:
        payment = await start(desk, "timur", "p2")
        if how == "disabled":
            await accounts.disable(desk.app.ctx, "aigerim", by="dana")
            words = "The account of aigerim was disabled"
        elif how == "logged out":
            await log_out(desk.app.ctx, made[0].token)
            words = "aigerim was logged out"
        else:
            change = "UPDATE pay_operator SET role = 'desk' WHERE name = 'aigerim'"
            await asyncio.to_thread(desk.clerk.change, change)
            words = "The account of aigerim was changed"
        await desk.press("c")
        await desk.sees("Cancel this payment")
        await desk.press("y")
        await desk.sees(words)
        await desk.press("a")
        await desk.sees("Take Apple Pay instead")
        await desk.press("y")
        await desk.sees(words)
        [same] = await desk.payments("p2")
        assert (same.payment_id, same.status) == (payment.payment_id, PaymentStatus.PENDING)
        await desk.pay(payment)  # the payment is followed all the same
        await desk.sees("✓ PAID")
        await desk.press("r")
        await desk.sees("Reason, for the record")
        await desk.type("injured")
        await desk.press("enter")
        await desk.sees(words)
        assert (await desk.payments("p2"))[0].refunds == ()
