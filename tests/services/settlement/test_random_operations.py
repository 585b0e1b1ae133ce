"""Random operations in any order: afterwards our records agree with those of the providers.

Processes crash between any two steps. ``PAY_MACHINE=500`` runs that many examples on each database, with a
new seed each time, and also cancels tasks at any step of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.sandbox.stripe import refunds as stripe_refunds
from procomp_pay.sandbox.stripe.core import Call
from procomp_pay.sandbox.stripe.errors import StripeError
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.postgres import PostgresServer
from tests.support.random_operations import CrashPoints, ErrorLog, cents, crashing_environment

S, R = PaymentStatus, RefundState
LONG = int(os.environ.get("PAY_MACHINE", "0"))
PEOPLE = 3
KINDS = {
    "kaspi": (PaymentMethod.KASPI_QR, Channel.KASPI_QR),
    "page": (PaymentMethod.APPLE_PAY, Channel.STRIPE_CHECKOUT),
    "intent": (PaymentMethod.GOOGLE_PAY, Channel.STRIPE_INTENT),
}
CARDS = (
    "pm_apple_pay",
    "pm_card_chargeDeclined",
    "pm_card_threeDSecure2Required",
    "pm_sandbox_processing",
    "pm_card_refundFail",
    "pm_card_pendingRefund",
    "pm_card_createDispute",
)
JSON = {"Accept": "application/json"}
#: Counts the operations of all runs by their result, for the output of a long run.
TALLY: Counter[str] = Counter()

which = st.integers(0, 5)
#: The step at which the process crashes; mostly it does not.
crashes = st.one_of(st.none(), st.none(), st.integers(0, 14))


class RandomOperations(RuleBasedStateMachine):
    """Operators, customers, banks and network faults, in any order."""

    def __init__(self, make_database: Callable[[], tuple[str, Callable[[], None]]]) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._errors = ErrorLog()
        self._log = logging.getLogger("procomp_pay")
        self._log.addHandler(self._errors)
        url, self._drop = make_database()
        self.world: ServiceEnvironment
        self.crash_points: CrashPoints
        self.world, self.crash_points = self._do(self._stack.enter_async_context(crashing_environment(url)))
        self.people: list[str] = []
        self.delivered: set[str] = set()
        TALLY["runs"] += 1

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def _use(self, work: Coroutine[Any, Any, Any], name: str, crash_at: int | None = None) -> None:
        TALLY["steps"] += 1
        TALLY[f"{name}: {self._do(self.crash_points.run(work, crash_at))}"] += 1

    def _act(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        TALLY["steps"] += 1
        TALLY[f"{name}: {self._do(work)}"] += 1

    @initialize(
        kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
        how=st.integers(0, 13),
        heard=st.booleans(),
    )
    def initial_payments(self, kinds: list[str], how: int, heard: bool) -> None:
        """Start with some paid payments, since the interesting operations come after that."""
        self.people = [self._do(self.world.participant()) for _ in range(PEOPLE)]
        for number, kind in enumerate(kinds):
            self.start(number % PEOPLE, kind, None)
            self.customer(number, how if number else 0)
        if heard:
            self.later(6)
            self.webhooks(0, 1.0, False)
            self.maintain(None)

    # --- operators and the app

    @rule(index=st.integers(0, PEOPLE - 1), kind=st.sampled_from(sorted(KINDS)), crash_at=crashes)
    def start(self, index: int, kind: str, crash_at: int | None) -> None:
        request = InitiateRequest(self.people[index], *KINDS[kind])
        self._use(initiate(self.world.ctx, request, CLERK), f"start {kind}", crash_at)

    @rule(pick=which, share=st.sampled_from([None, "0.1", "0.5", "1"]), force=st.booleans(), crash_at=crashes)
    def refund_payment(self, pick: int, share: str | None, force: bool, crash_at: int | None) -> None:
        picked = self._pick(pick, S.COMPLETED, S.REFUNDED)
        if picked is None:
            return
        payment_id, detail = picked
        amount = detail.charged_amount * Decimal(share) if share else None
        money = Money(amount.quantize(Decimal("0.01")), detail.charged_currency) if amount else None
        request = RefundCommand(payment_id, "injured", money, force=force)
        self._use(refund(self.world.ctx, request, CLERK), "refund", crash_at)

    @rule(pick=which, crash_at=crashes)
    def cancel_payment(self, pick: int, crash_at: int | None) -> None:
        picked = self._pick(pick)
        if picked is not None:
            self._use(cancel(self.world.ctx, picked[0], CLERK), "cancel", crash_at)

    @rule(crash_at=crashes)
    def maintain(self, crash_at: int | None) -> None:
        self._use(one_pass(self.world.ctx, backfill=False), "maintain", crash_at)

    @precondition(lambda self: bool(LONG))
    @rule(pick=which, steps=st.integers(0, 60), operation=st.sampled_from(["maintain", "refund", "start"]))
    def cancelled_task(self, pick: int, steps: int, operation: str) -> None:
        work: Coroutine[Any, Any, Any] = one_pass(self.world.ctx, backfill=False)
        picked = self._pick(pick, S.COMPLETED)
        if operation == "refund" and picked is not None:
            work.close()
            work = refund(self.world.ctx, RefundCommand(picked[0], "injured"), CLERK)
        elif operation == "start":
            work.close()
            work = initiate(
                self.world.ctx, InitiateRequest(self.people[pick % PEOPLE], *KINDS["intent"]), CLERK
            )
        self._act(self.crash_points.cancelled_after(work, steps), f"cancelled {operation}")

    # --- customers

    @rule(pick=which, how=st.integers(0, 13))
    def customer(self, pick: int, how: int) -> None:
        picked = self._pick(pick)
        if picked is not None:
            self._act(self._pay(picked[0], how), "customer")

    @rule(pick=which, how=st.sampled_from(["pass", "fail"]))
    def three_d_secure(self, pick: int, how: str) -> None:
        waiting = [i for i in self._stripe("payment_intents") if i["status"] == "requires_action"]
        if waiting:
            self._act(self._post(f"/c/3ds/{waiting[pick % len(waiting)]['id']}", result=how), "3-DS")

    async def _pay(self, payment_id: str, how: int) -> str:
        opened = await views.opening(self.world.ctx, payment_id)
        channel = opened.view.channel
        if opened.view.provider_ref is None:
            return "not created"
        if channel.is_kaspi:
            action = ("pay", "pay", "scan", "confirm", "cancel")[how % 5]
            return f"kaspi {action} " + await self._post(f"/pay/{opened.qr_payload}", action=action)
        if channel is Channel.STRIPE_INTENT:
            path = f"/_sandbox/stripe/payment_intents/{opened.view.provider_ref}/pay"
            return "intent " + await self._post(path, method=CARDS[how % len(CARDS)])
        wallet = ("apple_pay", *CARDS)[how % (len(CARDS) + 1)]
        return "page " + await self._post(f"/c/pay/{opened.view.provider_ref}", wallet=wallet)

    async def _post(self, path: str, **body: Any) -> str:
        answer = await self.world.http.post(path, json=body, headers=JSON)
        assert answer.status_code < 500, answer.text
        return str(answer.status_code)

    # --- banks, Stripe's dashboard, the Kaspi Pay app

    @rule(pick=which, share=st.sampled_from([0, 10, 2]))
    def refund_elsewhere(self, pick: int, share: int) -> None:
        picked = self._pick(pick, S.COMPLETED, S.REFUNDED)
        if picked is None or picked[1].provider_ref is None:
            return
        payment_id, detail = picked
        if detail.channel.is_kaspi:
            amount = str(detail.charged_amount / (share or 1))
            path = f"/_sandbox/kaspi/payments/{detail.provider_ref}/cashier-refund"
            self._act(self._post(path, Amount=amount), "cashier")
            return
        intent = self._do(self._row(Payment, payment_id)).stripe_payment_id
        params: dict[str, Any] = {"payment_intent": intent}
        if share:
            params["amount"] = cents(detail.charged_amount) // share
        self._act(self._dashboard(params), "dashboard")

    async def _dashboard(self, params: dict[str, Any]) -> str:
        try:
            stripe_refunds.create(self.world.sandbox.stripe.core, Call(params))
        except StripeError as error:
            return str(error.status)
        return "200"

    @rule(pick=which)
    def a_refund_fails_later(self, pick: int) -> None:
        alive = [r for r in self._stripe("refunds") if r["status"] in ("pending", "succeeded")]
        if alive:
            self._act(self._post(f"/_sandbox/stripe/refunds/{alive[pick % len(alive)]['id']}/fail"), "fail")

    @rule(pick=which)
    def dispute(self, pick: int) -> None:
        paid = [i for i in self._stripe("payment_intents") if i["status"] == "succeeded"]
        if paid:
            path = f"/_sandbox/stripe/payment_intents/{paid[pick % len(paid)]['id']}/dispute"
            self._act(self._post(path), "dispute")

    @rule(pick=which, won=st.booleans())
    def dispute_ends(self, pick: int, won: bool) -> None:
        rows = self._stripe("disputes")
        if rows:
            path = f"/_sandbox/stripe/disputes/{rows[pick % len(rows)]['id']}/close"
            self._act(self._post(path, won=won), "dispute ends")

    # --- network and clocks

    @rule(seed=st.integers(0, 999), keep=st.sampled_from([1.0, 1.0, 0.5]), again=st.booleans())
    def webhooks(self, seed: int, keep: float, again: bool) -> None:
        """Deliver pending webhooks: in order or not, some of them later, some twice."""
        chance = random.Random(seed)
        waiting = [e for e in self._stripe("events") if again or e["id"] not in self.delivered]
        if seed % 2:
            chance.shuffle(waiting)
        taken = [event for event in waiting if chance.random() < keep]
        self._act(self._deliver(taken), "webhooks")

    async def _deliver(self, events: list[dict[str, Any]]) -> str:
        core = self.world.sandbox.stripe.core
        for event in events:
            await self.world.receive(core.view(event))
            self.delivered.add(event["id"])
        return "some" if events else "none"

    @rule(seconds=st.sampled_from([3, 6, 50, 130, 700, 3700, 90_000]))
    def later(self, seconds: int) -> None:
        TALLY["steps"] += 1
        self._do(self._later(seconds))

    async def _later(self, seconds: int) -> None:
        self.world.later(seconds)

    @rule(
        kind=st.sampled_from(["cut_before", "cut_after", "status"]),
        path=st.sampled_from(["/v1/", "/v1/refunds", "/r3/", "/r3/v01/payment/return", "/"]),
        times=st.integers(1, 4),
        skip=st.integers(0, 2),
        after=st.booleans(),
    )
    def network_fault(self, kind: str, path: str, times: int, skip: int, after: bool) -> None:
        # "/" alone would affect the customers' pages too
        for prefix in ("/v1/", "/r3/") if path == "/" else (path,):
            fault = {"kind": kind, "path": prefix, "times": times, "skip": skip, "after": after}
            self.world.sandbox.faults.add(fault)
        TALLY[f"fault: {kind}"] += 1

    @rule()
    def network_recovers(self) -> None:
        self.world.sandbox.faults.clear()

    # --- queries

    def _stripe(self, table: str) -> list[dict[str, Any]]:
        return list(self.world.sandbox.stripe.core.tables[table].values())

    def _pick(self, pick: int, *wanted: PaymentStatus) -> tuple[str, PaymentDetail] | None:
        """Return one of the payments in a wanted status, or of all payments; ``None`` if there is none."""
        rows = self._do(self.world.rows(PaymentDetail))
        rows.sort(key=lambda row: (row.created_at, row.payment_id))
        if wanted:
            status = {p.id: p.status for p in self._do(self.world.rows(Payment))}
            rows = [row for row in rows if status[row.payment_id] in wanted]
        return (rows[pick % len(rows)].payment_id, rows[pick % len(rows)]) if rows else None

    async def _row(self, table: Any, key: str) -> Any:
        async with self.world.ctx.db.reading() as session:
            return await session.get(table, key)

    # --- checks at the end

    def teardown(self) -> None:
        try:
            if self.people:
                self._do(self._until_quiet())
                self._do(self._check())
        finally:
            self._log.removeHandler(self._errors)
            self._do(self._stack.aclose())
            self._runner.close()
            self._drop()

    async def _until_quiet(self) -> None:
        """End all faults, deliver every webhook and let time pass."""
        environment = self.world
        environment.sandbox.faults.clear()
        for seconds in (0, 5, 130, 130, 700, 700, 4000, 4000, 90_000, 4000, 4000, 700, 130):
            environment.later(seconds)
            await self._deliver([e for e in self._stripe("events") if e["id"] not in self.delivered])
            await one_pass(environment.ctx, backfill=False)
        # Kaspi sends no events: a cashier's refund is picked by polling only
        for detail in await environment.rows(PaymentDetail):
            if detail.channel.is_kaspi:
                await poll_payment(environment.ctx, detail.payment_id)

    async def _check(self) -> None:
        environment = self.world
        assert not self._errors.errors
        for event in await environment.rows(WebhookEvent):
            assert event.state in (EventState.DONE, EventState.IGNORED), (event.type, event.last_error)
        payments = {row.id: row for row in await environment.rows(Payment)}
        details = {row.payment_id: row for row in await environment.rows(PaymentDetail)}
        open_questions = {
            d.payment_id for d in await environment.rows(Discrepancy) if d.kind == "REFUND_MISMATCH"
        }
        all_refunds = await environment.rows(Refund)
        for key, payment in payments.items():
            detail = details[key]
            refunds = [row for row in all_refunds if row.payment_id == key]
            objects, charged, refunded = self._at_provider(payment, detail)
            assert objects <= 1, f"{objects} objects at the provider for one payment"
            settled = payment.status in (S.COMPLETED, S.REFUNDED)
            assert settled == (charged > 0), (payment.status, charged)
            assert 0 <= refunded <= charged
            reserved = sum((r.amount for r in refunds if r.state in (R.PENDING, R.SUCCEEDED)), Decimal(0))
            assert reserved <= detail.charged_amount
            if key not in open_questions:
                assert cents(detail.refunded_amount) == refunded, (
                    detail.channel,
                    detail.refunded_amount,
                    refunded,
                )
                assert all(row.state is not R.PENDING for row in refunds)
            assert (payment.status is S.REFUNDED) == (
                settled and detail.refunded_amount == detail.charged_amount
            )
            assert all(row.next_look_at is not None for row in refunds if row.state is R.PENDING)
            assert not detail.provider_open, "still open long after its expiry"
            assert payment.status not in (S.PENDING, S.PROCESSING)
        for participant in await environment.rows(Participant):
            self._check_participant(participant, payments, details)
        report = await verify(environment.ctx)
        assert report.findings == []
        TALLY["payments"] += len(payments)
        TALLY["refunds"] += len(all_refunds)
        TALLY["manual review"] += len(open_questions)

    def _check_participant(
        self, participant: Participant, payments: dict[str, Payment], details: dict[str, PaymentDetail]
    ) -> None:
        completed = [
            key
            for key, row in payments.items()
            if row.status is S.COMPLETED and details[key].participant_id == participant.id
        ]
        settling = [key for key in completed if not details[key].is_duplicate]
        assert len(settling) <= 1, "two payments settle one participant"
        assert (participant.status is ParticipantStatus.PAID) == (len(settling) == 1)
        assert participant.payment_id == (settling[0] if settling else None)
        TALLY["duplicates"] += len(completed) - len(settling)

    def _at_provider(self, payment: Payment, detail: PaymentDetail) -> tuple[int, int, int]:
        """Return the objects of a payment at its provider, and the paid and the refunded amount in cents."""
        if detail.channel.is_kaspi:
            book = self.world.sandbox.kaspi._book.payments.values()
            rows = [row for row in book if row.external_id == payment.id]
            paid = [row for row in rows if row.status == "Processed"]
            charged = sum(cents(row.amount) for row in paid)
            return len(rows), charged, charged - sum(cents(row.available) for row in paid)
        intents = [i for i in self._stripe("payment_intents") if i["metadata"]["payment_id"] == payment.id]
        sessions = [s for s in self._stripe("sessions") if s["client_reference_id"] == payment.id]
        names = {i["id"] for i in intents}
        charged = sum(i["amount_received"] for i in intents if i["status"] == "succeeded")
        refunded = sum(
            r["amount"]
            for r in self._stripe("refunds")
            if r["payment_intent"] in names and r["status"] == "succeeded"
        )
        return max(len(intents), len(sessions)), charged, refunded


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_our_records_agree_with_the_providers(
    kind: str, sqlite_template: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def sqlite() -> tuple[str, Callable[[], None]]:
        path = tmp_path / "random.sqlite3"
        for old in tmp_path.glob("random.sqlite3*"):
            old.unlink()
        shutil.copy(sqlite_template, path)
        return f"sqlite:///{path}", lambda: None

    def postgresql() -> tuple[str, Callable[[], None]]:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create_migrated()
        return server.url(name), lambda: server.drop(name)

    make = sqlite if kind == "sqlite" else postgresql
    TALLY.clear()
    try:
        run_state_machine_as_test(
            lambda: RandomOperations(make),
            settings=settings(
                max_examples=LONG or 10,
                stateful_step_count=50 if LONG else 30,
                derandomize=not LONG,
                database=None,
                print_blob=bool(LONG),
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        print(kind, dict(sorted(TALLY.items())))
