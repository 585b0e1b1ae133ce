"""An application context for tests: a real database, real HTTP to a real sandbox, and a movable clock."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
from sqlalchemy import text
from sqlmodel import SQLModel, select

from procomp_pay.config import ProviderMode
from procomp_pay.domain.events import Source
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import KASPI_CHANNELS, Channel, PaymentMethod, PaymentStatus
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.kaspi.tls import CertificateLife
from procomp_pay.providers.protocol import PaymentProvider
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.maintenance.run import Pass, one_pass, work_inbox, work_watch
from procomp_pay.services.views import payment as views
from procomp_pay.services.webhooks.stripe import receive_stripe
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.models.terms import TournamentFee

CLERK = Actor("aigerim", Source.PERSON)


#: Seconds that one provider request may take in tests, including retries.
TOTAL_S = 1.5


@dataclass
class TestProviders:
    """The real provider services, with short time-outs."""

    __test__ = False
    stripe: StripePaymentService
    kaspi: KaspiPaymentService

    tended: list[Any] = field(default_factory=list)
    life: CertificateLife | None = None
    stripe_mode: ProviderMode = ProviderMode.SANDBOX

    @property
    def circuits(self) -> list[Any]:
        return self.tended

    def certificate(self, _now: datetime) -> CertificateLife | None:
        return self.life

    def of(self, channel: Channel) -> PaymentProvider:
        return self.kaspi if channel.is_kaspi else self.stripe


@dataclass
class ServiceEnvironment:
    """The application context, the sandbox and the actions of customers and operators, for tests."""

    ctx: AppContext
    sandbox: Sandbox
    http: httpx.AsyncClient
    webhook_secret: str = "whsec_" + new_key()
    offset: timedelta = timedelta()
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def later(self, seconds: float) -> None:
        """Advance our clock and that of the sandbox."""
        self.offset += timedelta(seconds=seconds)
        self.sandbox.advance(seconds)

    async def participant(self, **changes: Any) -> str:
        """Add a participant of a new tournament with a fee of 50 USD or 24 000 KZT."""
        name = f"p{next(self._ids)}"
        now = self.now()
        async with self.ctx.db.writing() as session:
            session.add(User(id=f"u-{name}", email=f"{name}@example.com", name=name))
            session.add(
                Tournament(
                    id=f"t-{name}", name="Almaty Open", entry_fee=Decimal("50.00"), currency=Currency.USD,
                    starts_at=now, created_at=now, updated_at=now,
                )
            )  # fmt: skip
            await session.flush()
            fee = Decimal("24000.00")
            session.add(
                TournamentFee(
                    tournament_id=f"t-{name}",
                    currency=Currency.KZT,
                    amount=fee,
                    created_at=now,
                    updated_at=now,
                )
            )
            values = {
                "id": name, "user_id": f"u-{name}", "tournament_id": f"t-{name}", "full_name": f"Әсел {name}",
                "created_at": now, "updated_at": now,
            }  # fmt: skip
            session.add(Participant(**(values | changes)))
        return name

    async def start(
        self, participant: str | None = None, method: str = "kaspi_qr", **changes: Any
    ) -> views.Opening:
        """Start a payment as an operator: a QR for Kaspi, a hosted page for a wallet.

        :param participant: a new one by default.
        """
        participant = participant or await self.participant()
        chosen = PaymentMethod(method.upper())
        channel = Channel.KASPI_QR if chosen.is_kaspi else Channel.STRIPE_CHECKOUT
        request = replace(InitiateRequest(participant, chosen, channel), **changes)
        started = await initiate(self.ctx, request, CLERK)
        return await views.opening(self.ctx, started.payment_id)

    async def phone(self, opened: views.Opening, action: str = "pay") -> None:
        """In the customer's Kaspi app: ``scan``, ``confirm``, ``cancel`` or ``pay`` (scan and confirm)."""
        answer = await self.http.post(f"/pay/{opened.qr_payload}", json={"action": action}, headers=_JSON)
        assert answer.status_code == 200, answer.text

    async def pay_page(self, opened: views.Opening, wallet: str = "apple_pay") -> None:
        """Pay on Stripe's hosted page."""
        answer = await self.http.post(str(opened.payment_url), json={"wallet": wallet}, headers=_JSON)
        assert answer.status_code in (200, 402), answer.text

    async def paid(
        self, participant: str | None = None, method: str = "kaspi_qr", **changes: Any
    ) -> views.Opening:
        """Start a payment, pay it in the Kaspi app or on Stripe's page, and let us learn of it."""
        opened = await self.start(participant, method, **changes)
        if opened.view.channel.is_kaspi:
            await self.phone(opened)
            await self.maintain(after=6)
        else:
            await self.pay_page(opened)
            await self.deliver()
        return opened

    async def fault(self, path: str, kind: str, **more: Any) -> None:
        answer = await self.http.post("/_sandbox/faults", json={"path": path, "kind": kind, **more})
        assert answer.status_code < 300, answer.text

    async def no_faults(self) -> None:
        await self.http.delete("/_sandbox/faults")

    async def stripe_objects(self, kind: str) -> list[dict[str, Any]]:
        """Return objects of the sandbox: ``payment_intents``, ``checkout/sessions``, ``events`` …"""
        answer = await self.http.get(f"/v1/{kind}?limit=100", headers=self._stripe_auth())
        return list(answer.json()["data"])

    def _stripe_auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sandbox.info()['stripe_secret_key']}"}

    async def confirm(self, intent: str, method: str) -> httpx.Response:
        """Confirm an intent without a page, as the app does."""
        data = {"payment_method": method, "return_url": "https://app.example.com/paid"}
        return await self.http.post(
            f"/v1/payment_intents/{intent}/confirm", data=data, headers=self._stripe_auth()
        )

    def signed(self, body: bytes, *, secret: str | None = None, at: float | None = None) -> str:
        """Return a valid ``Stripe-Signature`` header."""
        stamp = int(at if at is not None else self.now().timestamp())
        text = f"{stamp}.".encode() + body
        digest = hmac.new((secret or self.webhook_secret).encode(), text, hashlib.sha256).hexdigest()
        return f"t={stamp},v1={digest}"

    async def receive(self, event: dict[str, Any]) -> bool:
        """Deliver an event as Stripe does."""
        body = json.dumps(event).encode()
        return await receive_stripe(self.ctx, body, self.signed(body), [self.webhook_secret])

    async def events(self) -> list[dict[str, Any]]:
        """Return the events of the sandbox, oldest first."""
        return (await self.stripe_objects("events"))[::-1]

    async def deliver(self) -> None:
        """Deliver every event of the sandbox and process the inbox."""
        for event in await self.events():
            await self.receive(event)
        await self.process_inbox()

    async def process_inbox(self) -> None:
        """Process what was received, without the rest of a maintenance pass."""
        await work_inbox(self.ctx, Pass())

    async def poll_kaspi(self) -> None:
        """Poll the payments at Kaspi that are due, without the rest of a maintenance pass."""
        await work_watch(self.ctx, Pass(), KASPI_CHANNELS)

    async def maintain(self, *, after: float = 0) -> Pass:
        """Run one maintenance pass without the backfill, so that a test decides which events are known.

        :param after: seconds that pass before it.
        """
        if after:
            self.later(after)
        return await one_pass(self.ctx, backfill=False)

    async def view(self, opened: views.Opening) -> views.PaymentView:
        return await views.one(self.ctx, opened.view.payment_id)

    async def status(self, opened: views.Opening) -> PaymentStatus:
        return (await self.view(opened)).status

    async def read_participant(self, participant: str) -> Participant:
        async with self.ctx.db.reading() as session:
            row = await session.get(Participant, participant)
            assert row is not None
            return row

    async def sql(self, statement: str, **values: Any) -> None:
        """Change the database directly."""
        async with self.ctx.db.writing() as session:
            await (await session.connection()).execute(text(statement), values)

    async def rows(self, table: type[SQLModel]) -> list[Any]:
        async with self.ctx.db.reading() as session:
            return list((await session.exec(select(table))).all())


_JSON = {"Accept": "application/json"}


def usd(amount: str) -> Money:
    return Money.parse(amount, "USD")
