"""One simulated tournament day: people who pay, a desk that refunds, processes that die, a bad network."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import aiosqlite
import httpx

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import KASPI_CHANNELS, STRIPE_CHANNELS, Channel, PaymentMethod
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.sandbox.stripe import refunds as stripe_refunds
from procomp_pay.sandbox.stripe.core import Call
from procomp_pay.sandbox.stripe.errors import StripeError
from procomp_pay.sandbox.stripe.webhooks import signature
from procomp_pay.services.context import AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import refresh_payment
from procomp_pay.services.maintenance.run import (
    Pass,
    one_pass,
    work_inbox,
    work_missed,
    work_outbox,
    work_refunds,
    work_watch,
)
from procomp_pay.services.reconciliation.run import PROVIDERS as RECONCILED
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks import kaspi_bill
from procomp_pay.services.webhooks.inbox import receive_stripe
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.payments import TournamentFee
from procomp_pay.storage.models.platform import Participant, Tournament, User
from tests.simulation import books, clock, process
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.support.environment import CLERK

#: Seconds in which all that people do begins.
MORNING_S = 900
FEES = {Currency.USD: Decimal("50.07"), Currency.KZT: Decimal("24001.00")}
_SECRET = "whsec_simulation"
#: Pauses after which the sender of a webhook tries again, in seconds; then it gives up.
_RETRIES_S = (3, 20, 90, 400, 3600, 20_000)
_CHANNELS = (
    (Channel.KASPI_QR, 4), (Channel.KASPI_LINK, 1), (Channel.KASPI_REMOTE, 2), (Channel.STRIPE_CHECKOUT, 4),
    (Channel.STRIPE_INTENT, 3),
)  # fmt: skip
_CARDS = (
    "pm_apple_pay", "pm_google_pay", "pm_card_visa", "pm_card_chargeDeclined",
    "pm_card_threeDSecure2Required", "pm_sandbox_processing", "pm_card_refundFail", "pm_card_pendingRefund",
)  # fmt: skip
#: The end of the day: pauses after which everything that waits has come to an end, in seconds.
_EVENING = (5, 130, 700, 4000, 90_000, 4000, 4000, 700)

#: The background work of ``serve``, and the query that tells which of it is due.
_WORK: tuple[Callable[[AppContext, Pass], Awaitable[None]], ...] = (
    partial(work_watch, channels=KASPI_CHANNELS), partial(work_watch, channels=STRIPE_CHANNELS),
    partial(work_refunds, channels=KASPI_CHANNELS), partial(work_refunds, channels=STRIPE_CHANNELS),
    work_outbox, work_inbox,
)  # fmt: skip
_DUE = """
    SELECT EXISTS (SELECT 1 FROM pay_payment_detail WHERE next_poll_at <= ?1 AND channel LIKE 'kaspi%'),
           EXISTS (SELECT 1 FROM pay_payment_detail WHERE next_poll_at <= ?1 AND channel LIKE 'stripe%'),
           EXISTS (SELECT 1 FROM pay_refund WHERE next_look_at <= ?1 AND currency = 'KZT'),
           EXISTS (SELECT 1 FROM pay_refund WHERE next_look_at <= ?1 AND currency = 'USD'),
           EXISTS (SELECT 1 FROM pay_outbox WHERE state = 'waiting' AND next_attempt_at <= ?1)
               OR EXISTS (SELECT 1 FROM pay_delivery WHERE state = 'waiting' AND next_attempt_at <= ?1),
           EXISTS (SELECT 1 FROM pay_webhook_event WHERE state = 'pending' AND next_attempt_at <= ?1)
"""

Work = Callable[[AppContext], Coroutine[Any, Any, Any]]


@dataclass
class Result:
    """What came of a day.

    :param problems: what must never be; empty for a good day.
    """

    seed: int
    problems: list[str]
    trace: list[str]
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


def run(seed: int, template: Path) -> Result:
    """Run the day of a seed on a copy of an empty migrated SQLite file."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    path = folder / "day.sqlite3"
    shutil.copy(template, path)
    try:
        with clock.simulated(seed) as (loop, chance), _in_memory(loop):
            day = Day(seed, path, chance)
            loop.run_until_complete(day.run())
            day.end(loop)
            return day.result
    finally:
        shutil.rmtree(folder)


@contextmanager
def _in_memory(loop: asyncio.AbstractEventLoop) -> Any:
    """Replace the driver's threads and the HTTP clients' sockets."""

    async def send(_transport: Any, request: httpx.Request) -> httpx.Response:
        owner = process.current.get()
        assert owner is not None
        return await owner.network.send(owner, request)

    loop.set_task_factory(process.make_task)
    with (
        mock.patch.object(aiosqlite, "connect", process.connect),
        mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", send),
    ):
        yield


class Day:
    """The people, the processes and the network of one day."""

    def __init__(self, seed: int, path: Path, chance: random.Random) -> None:
        self.chance, self.path = chance, path
        self.result = Result(seed, [], [])
        self.sandbox = Sandbox(SandboxOptions())
        self.sandbox.kaspi._book.settings.require_client_cert = False
        self.sandbox.stripe.core.on_event.append(self._on_event)
        trouble = chance.choice((0.0, 0.03, 0.1, 0.25))
        self.deadly = chance.choice((0.0, 0.1, 0.3))
        self.network = Network(self.sandbox, chance, trouble, self.trace)
        self.scheme = chance.choice((KaspiScheme.ENHANCED, KaspiScheme.ENHANCED, KaspiScheme.BASIC))
        self.keyring = Keyring([new_key()])
        self.sql = sqlite3.connect(path, isolation_level=None)
        self.people = [f"p{number}" for number in range(1, chance.randint(2, 4) + 1)]
        self.processes: dict[str, Process] = {}
        self.woken = {"serve-1": asyncio.Event(), "serve-2": asyncio.Event()}
        self.is_over = False
        #: Money that Kaspi took by its bill protocol: txn_id to account and tenge.
        self.bills: dict[str, tuple[str, Decimal]] = {}
        self._deliveries: list[asyncio.Task[None]] = []
        self.trace(f"{len(self.people)} people, {self.scheme}, trouble {trouble}, deadly {self.deadly}")

    def trace(self, text: str) -> None:
        self.result.trace.append(f"{asyncio.get_event_loop().time():9.2f} {text}")

    # --- the day

    async def run(self) -> None:
        log = logging.getLogger("procomp_pay")
        errors = _ErrorLog(self)
        level, propagates, log.propagate = log.level, log.propagate, False
        log.setLevel(logging.ERROR)
        log.addHandler(errors)
        try:
            await self._register()
            keepers = [asyncio.create_task(self._keep(name)) for name in ("serve-1", "serve-2", "desk")]
            await asyncio.gather(self._outages(), *(self._live(name) for name in self.people))
            self.is_over = True
            for running in list(self.processes.values()):
                running.kill()
            await asyncio.gather(*keepers)
            await self._evening()
        finally:
            log.removeHandler(errors)
            log.setLevel(level)
            log.propagate = propagates

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let what is left of killed processes end."""
        for _ in range(10):
            loop.run_until_complete(asyncio.sleep(0))
        self.sql.close()
        self.result.tally["faults"] += self.network.faults

    async def _register(self) -> None:
        now, first = clock.now(), self._process("registrations")
        stamps: Any = {"created_at": now, "updated_at": now}
        usd, kzt = Currency.USD, Currency.KZT
        rows = [
            User(id="u", email="u@example.com", name="U"),
            Tournament(id="t", name="Open", entry_fee=FEES[usd], currency=usd, starts_at=now, **stamps),
            TournamentFee(tournament_id="t", currency=kzt, amount=FEES[kzt], **stamps),
        ]
        rows += [
            Participant(id=name, user_id="u", tournament_id="t", full_name=f"Person {name}", **stamps)
            for name in self.people
        ]

        async def write() -> None:
            async with first.ctx.db.writing() as session:
                for row in rows:
                    session.add(row)
                    await session.flush()

        await first.start(write())
        await first.stop()

    def _process(self, name: str) -> Process:
        return Process(
            name, f"sqlite:///{self.path}", self.keyring, self.sandbox, self.scheme, self.chance, self.network
        )

    async def _keep(self, name: str) -> None:
        """Keep a process running: start it, and again some time after it died."""
        while not self.is_over:
            running = self.processes[name] = self._process(name)
            if name in self.woken:
                if self.deadly and self.chance.random() < 0.5:
                    running.dies_at = self.chance.randint(5, 1500)
                running.start(self._rounds(running, self.woken[name]))
            await running.died.wait()
            if not self.is_over:
                self.result.tally["kills"] += 1
                self.trace(f"{name} was killed before: {running.last_step}")
                await asyncio.sleep(self.chance.uniform(1, 90))

    async def _rounds(self, running: Process, woken: asyncio.Event) -> None:
        """Do the background work of ``serve``: stored events at once, all else when it is due."""
        ctx = running.ctx
        while True:
            try:
                async with asyncio.timeout(self.chance.uniform(3, 40)):
                    await woken.wait()
                woken.clear()
                work: list[Awaitable[Any]] = [work_inbox(ctx, Pass())]
            except TimeoutError:
                work = [each(ctx, Pass()) for each in self._due()]
            for result in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(result, PaymentError):
                    self.trace(f"{running.name}: round: {type(result).__name__}")
                elif isinstance(result, Exception):
                    self.result.problems.append(f"a round failed unexpectedly: {result!r}")

    def _due(self) -> list[Callable[[AppContext, Pass], Awaitable[None]]]:
        """Return the work that finds something to do: to look for the rest takes most of a day's time."""
        now = clock.now().strftime("%Y-%m-%d %H:%M:%S.%f")
        found = self.sql.execute(_DUE, (now,)).fetchone()
        work = [each for each, is_due in zip(_WORK, found, strict=True) if is_due]
        return [*work, work_missed] if self.chance.random() < 0.03 else work

    async def _outages(self) -> None:
        for path in ("/v1/", "/r1/", "/r3/", "/hook"):
            if self.network.trouble and self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, MORNING_S / 4))
                seconds = self.chance.uniform(10, 300)
                self.network.outages[path] = asyncio.get_running_loop().time() + seconds
                self.trace(f"{path} is out of reach for {seconds:.0f} s")

    async def use(self, what: str, work: Work, *, at: str | None = None) -> Any:
        """Do a piece of work in one of the processes, which may die of it; return None unless it was done."""
        while True:
            alive = [each for each in self.processes.values() if not each.is_dead]
            wanted = [each for each in alive if at is None or each.name.startswith(at)]
            if wanted:
                break
            await asyncio.sleep(1)
        running, result, why = self.chance.choice(wanted), None, ""
        if self.chance.random() < self.deadly:
            running.dies_at = running.steps + self.chance.randint(1, 80)
        task = running.start(work(running.ctx))
        if self.deadly and self.chance.random() < 0.05:  # the client hangs up
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 2), task.cancel)
        try:
            result = await task
            outcome = "done"
        except PaymentError as error:
            outcome, why = type(error).__name__, f" ({error.message[:90]})"
        except asyncio.CancelledError:
            outcome = "killed" if running.is_dead else "cancelled"
        except Exception as error:
            outcome = repr(error)
            self.result.problems.append(f"{what} failed unexpectedly: {error!r}")
        self.result.tally[f"{what.split(maxsplit=1)[0]}: {outcome}"] += 1
        self.trace(f"{running.name}: {what}: {outcome}{why}")
        return result

    # --- people

    async def _live(self, name: str) -> None:
        """Live a participant's day: payments begun and paid or not, and what the desk does about them."""
        chance = self.chance
        await asyncio.sleep(chance.uniform(0, MORNING_S / 3))
        for _ in range(chance.randint(1, 3)):
            await self._begin(name)
            for _ in range(chance.randint(1, 3)):
                await asyncio.sleep(chance.choice((0.5, 3, 8, 40, 200)))
                await self._pay(name)
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(chance.choice((0.5, 8, 60, 500)))
                await self._at_the_desk(name)

    async def _begin(self, name: str) -> None:
        chance = self.chance
        channel = chance.choices([c for c, _ in _CHANNELS], [weight for _, weight in _CHANNELS])[0]
        if channel is Channel.KASPI_REMOTE and self.scheme is not KaspiScheme.ENHANCED:
            channel = Channel.KASPI_QR
        method = PaymentMethod.KASPI_QR if channel.is_kaspi else PaymentMethod.APPLE_PAY
        key = f"key-{chance.randrange(10**9)}" if chance.random() < 0.5 else None
        phone = _phone(name) if channel is Channel.KASPI_REMOTE else None
        wanted = InitiateRequest(name, method, channel, phone=phone, idempotency_key=key)

        async def click() -> None:
            await self.use(f"initiate {name} {channel}", lambda ctx: initiate(ctx, wanted, CLERK))

        await asyncio.gather(*(click() for _ in range(2 if chance.random() < 0.2 else 1)))

    def _payments(self, name: str | None = None) -> list[tuple[str, Channel, str]]:
        """Return id, channel and provider's id of each payment that has been shown to its customer."""
        rows = self.sql.execute(
            "SELECT payment_id, channel, provider_ref FROM pay_payment_detail WHERE provider_ref IS NOT NULL"
            " AND channel != 'kaspi_bill' AND (?1 IS NULL OR participant_id = ?1)"
            " ORDER BY created_at, payment_id",
            (name,),
        )
        return [(payment, Channel(channel), ref) for payment, channel, ref in rows]

    async def _pay(self, name: str) -> None:
        """Do something about a payment as the customer: mostly pay it, sometimes an older one."""
        chance = self.chance
        shown = self._payments(name)
        if chance.random() < 0.08:
            await self._pay_bill(name)
        await self._answer_invoices(name)
        if not shown or chance.random() < 0.15:
            return
        payment, channel, ref = shown[-1] if chance.random() < 0.8 else chance.choice(shown)
        if channel.is_kaspi:
            token = self.sandbox.kaspi._book.payments[int(ref)].token
            for how in chance.choice((("pay",), ("pay",), ("scan", "confirm"), ("scan",), ("cancel",))):
                status = await self.network.customer(f"/pay/{token}", action=how)
                self.trace(f"{name}: {how} {payment}: {status}")
                await asyncio.sleep(chance.choice((1, 5, 50, 70)))
            return
        card = chance.choice(_CARDS)
        path, body = (
            (f"/c/pay/{ref}", {"wallet": card})
            if channel is Channel.STRIPE_CHECKOUT
            else (f"/_sandbox/stripe/payment_intents/{ref}/pay", {"method": card})
        )
        status = await self.network.customer(path, **body)
        self.trace(f"{name}: {card} {payment}: {status}")
        if card == "pm_card_threeDSecure2Required":
            await asyncio.sleep(chance.uniform(1, 30))
            for intent in list(self.sandbox.stripe.core.tables["payment_intents"].values()):
                if intent["status"] == "requires_action" and intent["metadata"].get("payment_id") == payment:
                    how = chance.choice(("pass", "pass", "fail"))
                    status = await self.network.customer(f"/c/3ds/{intent['id']}", result=how)
                    self.trace(f"{name}: 3-D Secure {how} {payment}: {status}")

    async def _answer_invoices(self, name: str) -> None:
        """Pay or reject what the phone shows, also an invoice of which Kaspi's answer to us was lost."""
        for invoice in list(self.sandbox.kaspi._book.payments.values()):
            if invoice.buyer == _phone(name) and invoice.status == "RemotePaymentCreated":
                how = self.chance.choice(("pay", "pay", "cancel", None))
                if how is not None:
                    status = await self.network.customer(f"/pay/{invoice.token}", action=how)
                    self.trace(f"{name}: {how} invoice {invoice.payment_id}: {status}")

    async def _pay_bill(self, name: str) -> None:
        """Type the account in the Kaspi app; Kaspi repeats its callback until it is answered."""
        ask = kaspi_bill.BillAsk(f"{40_000_000 + len(self.bills)}", name, str(FEES[Currency.KZT]))
        ask = kaspi_bill.BillAsk(
            ask.txn_id, name, ask.sum_text, Money(FEES[Currency.KZT], Currency.KZT), clock.now()
        )
        answer = await self.use(f"check {name}", lambda ctx: kaspi_bill.check(ctx, ask), at="serve")
        if answer is None or answer.result != 0:
            return
        self.bills[ask.txn_id] = (name, FEES[Currency.KZT])

        async def call(attempts: int) -> None:
            for _ in range(attempts):
                await asyncio.sleep(self.chance.choice((0, 0.1, 5, 30)))
                if await self.use(f"bill {name}", lambda ctx: kaspi_bill.pay(ctx, ask), at="serve"):
                    return
            if attempts > 2:
                self.result.problems.append(f"Kaspi's callback {ask.txn_id} was never answered")

        # now and then the callback comes twice at once
        again = [call(1)] if self.chance.random() < 0.3 else []
        await asyncio.gather(call(50), *again)

    async def _at_the_desk(self, name: str) -> None:
        shown = self._payments(name)
        if not shown:
            return
        payment, channel, ref = self.chance.choice(shown)
        action = self.chance.choices(list(self._actions), [weight for _, weight in self._actions.values()])[0]
        await self._actions[action][0](self, name, payment, channel, ref)

    async def _refresh(self, _name: str, payment: str, *_: Any) -> None:
        await self.use(f"refresh {payment}", lambda ctx: refresh_payment(ctx, payment, CLERK))

    async def _cancel(self, _name: str, payment: str, *_: Any) -> None:
        await self.use(f"cancel {payment}", lambda ctx: cancel(ctx, payment, CLERK))

    async def _refund(self, _name: str, payment: str, channel: Channel, _ref: str) -> None:
        """Refund it, in whole or in part; the button may be pressed twice."""
        chance, currency = self.chance, Currency.KZT if channel.is_kaspi else Currency.USD
        part = chance.choice((None, None, Decimal("13.00"), FEES[currency] - 1, FEES[currency]))
        key = f"key-{chance.randrange(10**9)}" if chance.random() < 0.5 else None
        command = RefundCommand(
            payment, "injured", Money(part, currency) if part else None, idempotency_key=key
        )

        async def press() -> None:
            await self.use(f"refund {payment} {part or 'all'}", lambda ctx: refund(ctx, command, CLERK))

        await asyncio.gather(*(press() for _ in range(2 if chance.random() < 0.3 else 1)))

    async def _refund_elsewhere(self, _name: str, payment: str, channel: Channel, ref: str) -> None:
        """Refund in Stripe's dashboard or the Kaspi Pay app, of which only scheme enhanced can be asked."""
        if channel.is_kaspi and self.scheme is not KaspiScheme.ENHANCED:
            return
        share = self.chance.choice((1, 1, 3))
        if channel.is_kaspi:
            amount = str(round(FEES[Currency.KZT] / share, 2))
            path = f"/_sandbox/kaspi/payments/{ref}/cashier-refund"
            status = await self.network.customer(path, Amount=amount)
        else:
            rows = self.sandbox.stripe.core.tables["payment_intents"].values()
            paid = [
                i for i in rows if i["metadata"].get("payment_id") == payment and i["status"] == "succeeded"
            ]
            status = 404
            if paid:
                amount_of = int(FEES[Currency.USD] * 100) // share
                params = {"payment_intent": paid[0]["id"], "amount": amount_of}
                try:
                    stripe_refunds.create(self.sandbox.stripe.core, Call(params))
                    status = 200
                except StripeError as error:
                    status = error.status
        self.trace(f"refund elsewhere of {payment}: {status}")

    async def _verify(self, name: str, payment: str, channel: Channel, ref: str) -> None:
        """Type the number of a receipt: of this payment or, by mistake, of another one."""
        kaspi = self.sandbox.kaspi._book.payments
        if self.chance.random() < 0.2:
            others = [ref for _, other, ref in self._payments() if other.is_kaspi]
            ref = self.chance.choice(others) if others else ref
        if channel.is_kaspi and int(ref) in kaspi and (number := kaspi[int(ref)].operation_number):
            wanted = VerificationRequest(payment, number)
            await self.use(f"verify {payment} {name}", lambda ctx: verify(ctx, wanted, CLERK))

    async def _move(self, name: str, payment: str, *_: Any) -> None:
        target = self.chance.choice(self.people)
        await self.use(
            f"move {payment} to {target}",
            lambda ctx: move_payment(ctx, payment, target, CLERK, reason="wrong child", former_id=name),
        )

    async def _maintain(self, *_: Any) -> None:
        await self.use("maintain", one_pass)

    async def _reconcile(self, *_: Any) -> None:
        request = ReconcileRequest(self.chance.choice(RECONCILED))
        await self.use("reconcile", lambda ctx: reconcile(ctx, request, CLERK))

    _actions: ClassVar[dict[str, tuple[Callable[..., Awaitable[None]], int]]] = {
        "refund": (_refund, 8), "refresh": (_refresh, 2), "cancel": (_cancel, 3), "verify": (_verify, 3),
        "refund elsewhere": (_refund_elsewhere, 2), "move": (_move, 2), "maintain": (_maintain, 1),
        "reconcile": (_reconcile, 1),
    }  # fmt: skip

    # --- webhooks

    def _on_event(self, event: dict[str, Any]) -> None:
        """Send an event, sometimes twice or never, each delivery by itself: the order is not kept."""
        chance = self.chance
        if self.network.trouble and chance.random() < 0.04:
            self.trace(f"{event['type']} {event['id']}: never sent")
            self.network.faults += 1
            return
        body = json.dumps(self.sandbox.stripe.core.view(event)).encode()
        for _ in range(2 if chance.random() < self.network.trouble else 1):
            delay = chance.choice((0.05, 0.3, 2.0)) if chance.random() < 0.9 else chance.uniform(5, 600)
            self._deliveries.append(asyncio.create_task(self._deliver(event, body, delay)))

    async def _deliver(self, event: dict[str, Any], body: bytes, delay: float) -> None:
        """Deliver an event to one of the servers, and try again until it is accepted."""
        await asyncio.sleep(delay)
        for pause in (*_RETRIES_S, None):
            header = signature(body, [_SECRET], int(clock.now().timestamp()))
            alive = [p for p in self.processes.values() if not p.is_dead and p.name != "desk"]
            lost = self.chance.random() < self.network.trouble
            if alive and not (lost and self.chance.random() < 0.5):
                server = self.chance.choice(alive)
                task = server.start(receive_stripe(server.ctx, body, header, [_SECRET]))
                try:
                    is_new = await task
                except (PaymentError, asyncio.CancelledError) as error:
                    self.trace(f"{event['type']} {event['id']}: {type(error).__name__}")
                else:
                    if server.name in self.woken:
                        self.woken[server.name].set()
                    if not lost:
                        self.trace(f"{event['type']} {event['id']}: {'stored' if is_new else 'known'}")
                        return
            if pause is not None:
                await asyncio.sleep(pause)
        self.trace(f"{event['type']} {event['id']}: given up")

    # --- the evening

    async def _evening(self) -> None:
        """End all faults, let time pass, and compare the books."""
        self.network.trouble, self.deadly = 0.0, 0.0
        self.network.outages.clear()
        self.trace("evening")
        last = self.processes["serve-1"] = self._process("evening")
        for seconds in _EVENING:
            await asyncio.sleep(seconds)
            self.sandbox.stripe.core.run_due()
            self.result.tally["passes"] += 1
            await last.start(one_pass(last.ctx))
        for provider in RECONCILED:
            # Kaspi tells of a refund in its app only when it is asked
            report = await last.start(reconcile(last.ctx, ReconcileRequest(provider), CLERK))
            self.trace(f"reconcile {provider}: {dict(sorted(report.kinds.items()))}")
        await last.start(one_pass(last.ctx))
        for task in self._deliveries:
            task.cancel()
        await last.start(books.check(self, last.ctx))
        self.result.problems.sort()
        await last.stop()


def _phone(name: str) -> str:
    return f"8701000001{name[1:]}"


class _ErrorLog(logging.Handler):
    """Background work logs its unexpected errors."""

    def __init__(self, day: Day) -> None:
        super().__init__(logging.ERROR)
        self._day = day

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:  # alerts are logged as well
            self._day.result.problems.append(f"{record.getMessage()}: {record.exc_info[1]!r}")
