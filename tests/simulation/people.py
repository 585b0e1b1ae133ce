"""What people do in a day: participants who pay or do not, and the desk that helps, refunds and errs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.sandbox.stripe import disputes
from procomp_pay.sandbox.stripe import refunds as stripe_refunds
from procomp_pay.sandbox.stripe.core import Call
from procomp_pay.sandbox.stripe.errors import StripeError
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import refresh_payment
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.reconciliation.run import PROVIDERS, ReconcileRequest, reconcile
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks import kaspi_bill
from tests.simulation import clock
from tests.support.environment import CLERK

if TYPE_CHECKING:
    from tests.simulation.day import Day

#: Everybody has come within so many seconds.
MORNING_S = 300
USD, KZT = Currency.USD, Currency.KZT
#: The reason of refunds that are asked for here; those from elsewhere have others.
REASON = "injured"
FEES = {USD: Decimal("50.07"), KZT: Decimal("24001.00")}
_CHANNELS = {
    Channel.KASPI_QR: 4, Channel.KASPI_LINK: 1, Channel.KASPI_REMOTE: 2, Channel.STRIPE_CHECKOUT: 4,
    Channel.STRIPE_INTENT: 3,
}  # fmt: skip
_CARDS = (
    "pm_apple_pay", "pm_google_pay", "pm_card_visa", "pm_card_chargeDeclined",
    "pm_card_threeDSecure2Required", "pm_sandbox_processing", "pm_card_refundFail", "pm_card_pendingRefund",
)  # fmt: skip


class Person:
    """A participant, with what the desk does about their payments."""

    def __init__(self, day: Day, name: str) -> None:
        self._day, self._chance, self.name = day, day.chance, name
        self._kaspi, self._stripe = day.sandbox.kaspi._book.payments, day.sandbox.stripe.core
        self._phone = f"8701000001{name[1:]}"

    async def live(self) -> None:
        """Live a day: payments begun and paid or not, and the desk in between."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0, MORNING_S))
        for _ in range(chance.randint(1, 3)):
            await self._begin()
            for _ in range(chance.randint(1, 3)):
                await asyncio.sleep(chance.choice((0.5, 3, 8, 40, 200)))
                await self._pay()
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(chance.choice((0.5, 8, 60, 500)))
                if shown := self._payments():
                    action = chance.choices(list(self._desk), list(self._desk.values()))[0]
                    await action(self, *chance.choice(shown))

    async def _twice(self, share: float, press: Callable[[], Awaitable[Any]]) -> None:
        """Press a button; a share of people does it twice."""
        await asyncio.gather(*(press() for _ in range(2 if self._chance.random() < share else 1)))

    def _key(self) -> str | None:
        return f"key-{self._chance.randrange(10**9)}" if self._chance.random() < 0.5 else None

    # --- participants

    async def _begin(self) -> None:
        channel = self._chance.choices(list(_CHANNELS), list(_CHANNELS.values()))[0]
        if channel is Channel.KASPI_REMOTE and self._day.scheme is not KaspiScheme.ENHANCED:
            channel = Channel.KASPI_QR
        method = PaymentMethod.KASPI_QR if channel.is_kaspi else PaymentMethod.APPLE_PAY
        phone = self._phone if channel is Channel.KASPI_REMOTE else None
        wanted = InitiateRequest(self.name, method, channel, phone=phone, idempotency_key=self._key())
        what = f"initiate {self.name} {channel}"
        await self._twice(0.2, lambda: self._day.use(what, lambda ctx: initiate(ctx, wanted, CLERK)))

    def _payments(self, name: str | None = None) -> list[tuple[str, Channel, str]]:
        """Return id, channel and provider's id of each payment that was shown to its customer."""
        rows = self._day.sql.execute(
            "SELECT payment_id, channel, provider_ref FROM pay_payment_detail WHERE provider_ref IS NOT NULL"
            " AND channel != 'kaspi_bill' AND participant_id LIKE ? ORDER BY created_at, payment_id",
            (name or self.name,),
        )
        return [(payment, Channel(channel), ref) for payment, channel, ref in rows]

    async def _pay(self) -> None:
        """Do something about a payment: mostly pay it, sometimes an older one."""
        chance, shown = self._chance, self._payments()
        if chance.random() < 0.08:
            await self._pay_bill()
        for invoice in list(self._kaspi.values()):
            # the phone also shows an invoice of which Kaspi's answer to us was lost
            if invoice.buyer == self._phone and invoice.status == "RemotePaymentCreated":
                await self._post(f"/pay/{invoice.token}", action=chance.choice(("pay", "pay", "cancel")))
        if not shown or chance.random() < 0.15:
            return
        payment, channel, ref = shown[-1] if chance.random() < 0.8 else chance.choice(shown)
        if channel.is_kaspi:
            for how in chance.choice((("pay",), ("pay",), ("scan", "confirm"), ("scan",), ("cancel",))):
                await self._post(f"/pay/{self._kaspi[int(ref)].token}", action=how)
                await asyncio.sleep(chance.choice((1, 5, 50, 70)))
            return
        card = chance.choice(_CARDS)
        if channel is Channel.STRIPE_CHECKOUT:
            await self._post(f"/c/pay/{ref}", wallet=card)
        else:
            await self._post(f"/_sandbox/stripe/payment_intents/{ref}/pay", method=card)
        await asyncio.sleep(chance.uniform(1, 30))
        for intent in self._intents(payment, "requires_action"):
            await self._post(f"/c/3ds/{intent['id']}", result=chance.choice(("pass", "pass", "fail")))

    async def _post(self, path: str, **body: str) -> None:
        status = await self._day.network.customer(path, **body)
        self._day.trace(f"{self.name}: {' '.join(body.values())} {path}: {status}")

    def _intents(self, payment: str, status: str) -> list[dict[str, Any]]:
        rows = self._stripe.tables["payment_intents"].values()
        return [r for r in rows if r["status"] == status and r["metadata"].get("payment_id") == payment]

    async def _pay_bill(self) -> None:
        """Type the account in the Kaspi app; Kaspi repeats its callback until it is answered."""
        day, money = self._day, Money(FEES[KZT], KZT)
        txn = f"{40_000_000 + len(day.bills)}"
        ask = kaspi_bill.BillAsk(txn, self.name, str(money.amount), money, clock.now())
        answer = await day.use(f"check {self.name}", lambda ctx: kaspi_bill.check(ctx, ask), at="serve")
        if answer is None or answer.result != 0:
            return
        day.bills[txn] = money.amount

        async def call() -> None:
            answer = None
            while answer is None:
                await asyncio.sleep(self._chance.choice((0, 0.1, 5, 30)))
                answer = await day.use(
                    f"bill {txn} {self.name}", lambda ctx: kaspi_bill.pay(ctx, ask), at="serve"
                )

        await self._twice(0.3, call)

    # --- the desk, about one of their payments

    async def _refresh(self, payment: str, *_: Any) -> None:
        await self._day.use(f"refresh {payment}", lambda ctx: refresh_payment(ctx, payment, CLERK))

    async def _cancel(self, payment: str, *_: Any) -> None:
        await self._day.use(f"cancel {payment}", lambda ctx: cancel(ctx, payment, CLERK))

    async def _refund(self, payment: str, channel: Channel, _ref: str) -> None:
        """Refund it, in whole or in part."""
        currency = KZT if channel.is_kaspi else USD
        part = self._chance.choice((None, None, Decimal("13.00"), FEES[currency] - 1, FEES[currency]))
        money = None if part is None else Money(part, currency)
        command = RefundCommand(payment, REASON, money, idempotency_key=self._key())
        what = f"refund {payment} {part or 'all'}"
        await self._twice(0.3, lambda: self._day.use(what, lambda ctx: refund(ctx, command, CLERK)))

    async def _refund_elsewhere(self, payment: str, channel: Channel, ref: str) -> None:
        """Refund in Stripe's dashboard or the Kaspi Pay app, of which only scheme enhanced can be asked."""
        share = self._chance.choice((1, 1, 3))
        if channel.is_kaspi and self._day.scheme is KaspiScheme.ENHANCED:
            amount = str(round(FEES[KZT] / share, 2))
            await self._post(f"/_sandbox/kaspi/payments/{ref}/cashier-refund", Amount=amount)
        for intent in self._intents(payment, "succeeded"):
            params = {"payment_intent": intent["id"], "amount": int(FEES[USD] * 100) // share}
            try:
                stripe_refunds.create(self._stripe, Call(params))
                self._day.trace(f"dashboard: refund of {payment}: done")
            except StripeError as error:
                self._day.trace(f"dashboard: refund of {payment}: {error.status}")

    async def _dispute(self, payment: str, *_: Any) -> None:
        """Dispute it at the bank, or let the bank decide."""
        stripe, chance = self._stripe, self._chance
        for intent in self._intents(payment, "succeeded"):
            rows = stripe.tables["disputes"].values()
            opened = next((row["id"] for row in rows if row["payment_intent"] == intent["id"]), None)
            try:
                if opened is None:
                    charge = stripe.get("charges", intent["latest_charge"])
                    opened = disputes.open_dispute(stripe, charge, "fraudulent")["id"]
                    self._day.trace(f"bank: dispute {opened} of {payment}")
                    if chance.random() < 0.5:
                        continue
                    await asyncio.sleep(chance.choice((0.2, 5, 60)))
                decided = disputes.close_dispute(stripe, opened, won=chance.random() < 0.5)
                self._day.trace(f"bank: dispute {opened} of {payment}: {decided['status']}")
            except StripeError as error:
                self._day.trace(f"bank: dispute of {payment}: {error.status}")

    async def _verify(self, payment: str, channel: Channel, ref: str) -> None:
        """Type the number of a receipt: of this payment or, by mistake, of another one."""
        refs = [ref] * 4 + [other for _, each, other in self._payments("%") if each.is_kaspi]
        paid = self._kaspi.get(int(self._chance.choice(refs))) if channel.is_kaspi else None
        if paid is not None and paid.operation_number is not None:
            wanted = VerificationRequest(payment, paid.operation_number)
            await self._day.use(f"verify {payment}", lambda ctx: verify(ctx, wanted, CLERK))

    async def _move(self, payment: str, *_: Any) -> None:
        name, target = self.name, self._chance.choice(self._day.people)
        await self._day.use(
            f"move {payment} to {target}",
            lambda ctx: move_payment(ctx, payment, target, CLERK, reason="wrong child", former_id=name),
        )

    async def _maintain(self, *_: Any) -> None:
        await self._day.use("maintain", one_pass)

    async def _reconcile(self, *_: Any) -> None:
        request = ReconcileRequest(self._chance.choice(PROVIDERS))
        await self._day.use("reconcile", lambda ctx: reconcile(ctx, request, CLERK))

    #: What the desk does, and how often in comparison.
    _desk: ClassVar[dict[Callable[..., Awaitable[None]], int]] = {
        _refund: 8, _refresh: 2, _cancel: 3, _verify: 3, _refund_elsewhere: 2, _dispute: 2, _move: 2,
        _maintain: 1, _reconcile: 1,
    }  # fmt: skip
