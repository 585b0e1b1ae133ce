"""Each use case in a process that is killed before each of its commits, requests and answers in turn.

The steps are found by running: a new one cannot be forgotten. Afterwards time passes, background work runs,
and the books must equal the providers', also if the person presses the button again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.sandbox.stripe.webhooks import signature
from procomp_pay.services.context import AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks import kaspi_bill
from procomp_pay.services.webhooks.stripe import receive_stripe
from tests.simulation import clock, day
from tests.simulation.people import FEES, KZT, REASON, USD
from tests.support.environment import CLERK

Use = Callable[[AppContext], Awaitable[Any]]
_SECRET = "whsec_simulation"


class KilledDay(day.Day):
    """A day on which one person does one thing, once in a process that is killed, on a good network.

    :param kill_before: the number of the step.
    :param again: whether it is done again, in the next process.
    """

    def __init__(self, prepare: Prepare, kill_before: int, again: bool, *rest: Any) -> None:
        super().__init__(*rest)
        self._prepare, self._kill_before, self._again = prepare, kill_before, again
        self.network.trouble = self.deadly = 0.0
        self.scheme, self.people = KaspiScheme.ENHANCED, ["p1", "p2"]
        self.was_killed = False

    async def daytime(self) -> None:
        desk = self.processes["desk"] = self.process("desk")
        use = await self._prepare(self)
        desk.dies_at = desk.steps + self._kill_before
        await self.use("use", use)
        self.was_killed = desk.is_dead
        self.result.trace.append(f"killed before: {desk.last_step}" if desk.is_dead else "not killed")
        desk.kill()
        if self._again:
            await asyncio.sleep(60)
            self.processes["desk"] = self.process("desk")
            await self.use("again", use)
            self.processes["desk"].kill()

    def _on_event(self, event: dict[str, Any]) -> None:
        """Send nothing: the events are fetched."""

    async def begin(self, channel: Channel) -> str:
        """Begin a payment; return its id."""
        started = await self.use("begin", _initiate(channel))
        return str(started.payment_id)

    async def paid(self, channel: Channel) -> str:
        """Begin and pay a payment, of which our books do not know yet."""
        payment = await self.begin(channel)
        (ref,) = self.sql.execute("SELECT provider_ref FROM pay_payment_detail").fetchone()
        if channel.is_kaspi:
            await self.network.customer(f"/pay/{ref}", action="pay")
        else:
            await self.network.customer(f"/c/pay/{ref}", wallet="pm_apple_pay")
        await asyncio.sleep(30)
        return payment

    async def completed(self, channel: Channel) -> str:
        payment = await self.paid(channel)
        await self.use("pass", one_pass)
        return payment


Prepare = Callable[[KilledDay], Awaitable[Use]]


def _initiate(channel: Channel) -> Use:
    method = PaymentMethod.KASPI_QR if channel.is_kaspi else PaymentMethod.APPLE_PAY
    phone = "87010000011" if channel is Channel.KASPI_REMOTE else None
    request = InitiateRequest("p1", method, channel, phone=phone, idempotency_key="key")
    return lambda ctx: initiate(ctx, request, CLERK)


async def _start(channel: Channel, _day: KilledDay) -> Use:
    return _initiate(channel)


async def _cancel(channel: Channel, today: KilledDay) -> Use:
    payment = await today.begin(channel)
    return lambda ctx: cancel(ctx, payment, CLERK)


async def _refund(channel: Channel, today: KilledDay) -> Use:
    """Refund a part: the rest would not stop a second one."""
    part = Money(Decimal("13.00"), KZT if channel.is_kaspi else USD)
    command = RefundCommand(await today.completed(channel), REASON, part, idempotency_key="key")
    return lambda ctx: refund(ctx, command, CLERK)


async def _maintain(channel: Channel, today: KilledDay) -> Use:
    await today.paid(channel)
    return one_pass


async def _reconcile(channel: Channel, today: KilledDay) -> Use:
    await today.paid(channel)
    request = ReconcileRequest("kaspi" if channel.is_kaspi else "stripe")
    return lambda ctx: reconcile(ctx, request, CLERK)


async def _webhook(today: KilledDay) -> Use:
    await today.paid(Channel.STRIPE_CHECKOUT)
    core = today.sandbox.stripe.core
    body = json.dumps(core.view(list(core.tables["events"].values())[-1])).encode()

    async def receive(ctx: AppContext) -> None:
        header = signature(body, [_SECRET], int(clock.now().timestamp()))
        await receive_stripe(ctx, body, header, [_SECRET])
        await one_pass(ctx, backfill=False)

    return receive


async def _verify(today: KilledDay) -> Use:
    payment = await today.paid(Channel.KASPI_QR)
    (paid,) = today.sandbox.kaspi._book.payments.values()
    request = VerificationRequest(payment, str(paid.operation_number), idempotency_key="key")
    return lambda ctx: verify(ctx, request, CLERK)


async def _move(today: KilledDay) -> Use:
    payment = await today.completed(Channel.KASPI_QR)
    return lambda ctx: move_payment(ctx, payment, "p2", CLERK, reason="wrong child", former_id="p1")


async def _bill(today: KilledDay) -> Use:
    """Kaspi repeats this callback until it is answered, so that a single one is no case."""
    today.bills["40000000"], today._again = FEES[KZT], True
    ask = kaspi_bill.BillAsk("40000000", "p1", str(FEES[KZT]), Money(FEES[KZT], KZT), clock.now())
    return lambda ctx: kaspi_bill.pay(ctx, ask)


_CHANNELS = [channel for channel in Channel if channel is not Channel.KASPI_BILL]
_BOTH = (Channel.KASPI_QR, Channel.STRIPE_CHECKOUT)
_CASES: dict[str, Prepare] = {
    **{f"initiate {channel}": partial(_start, channel) for channel in _CHANNELS},
    **{f"cancel {channel}": partial(_cancel, channel) for channel in _CHANNELS},
    **{f"refund {channel}": partial(_refund, channel) for channel in _BOTH},
    **{f"maintain {channel}": partial(_maintain, channel) for channel in _BOTH},
    **{f"reconcile {channel}": partial(_reconcile, channel) for channel in _BOTH},
    "webhook": _webhook, "verify": _verify, "move": _move, "bill": _bill,
}  # fmt: skip


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("case", _CASES)
def test_killed_before_each_step(case: str, again: bool, sqlite_template: Path) -> None:
    for number in itertools.count(1):
        days: list[KilledDay] = []

        def make(*rest: Any, number: int = number, days: list[KilledDay] = days) -> day.Day:
            days.append(KilledDay(_CASES[case], number, again, *rest))
            return days[0]

        result = day.run(number, sqlite_template, make)
        assert not result.problems, "\n".join(result.trace + result.problems)
        if not days[0].was_killed:
            break
    assert number > 1, "no step was found"
