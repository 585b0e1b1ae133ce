"""What people and programs see of a payment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain import payment_code
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.fees import EntryFees
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import reserved_amount
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.refund import DisputeView, RefundView, dispute_view, move_view, refund_view
from procomp_pay.services.views.refund import Move as Move  # noqa: PLC0414 - given on
from procomp_pay.services.views.refund import instant as instant  # noqa: PLC0414 - given on
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments import listing
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.registrations import lookup as people

#: Before what a QR picture's signed address says.
QR_PURPOSE = "qr-picture"


@dataclass(frozen=True, slots=True)
class PaymentView:
    """One payment. Secrets are in :class:`Opening` alone."""

    payment_id: str
    code: str | None
    participant_id: str
    participant_name: str
    tournament_id: str
    tournament_name: str
    category: str | None
    status: PaymentStatus
    method: PaymentMethod
    channel: Channel
    charged: Money
    requested: Money
    refunded: Money
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    scanned_at: datetime | None
    failure_reason: str | None
    provider_ref: str | None
    operation_number: str | None
    wallet: str | None
    is_late: bool
    is_duplicate: bool
    provider_open: bool
    started_by: str
    refunds: tuple[RefundView, ...]
    dispute: DisputeView | None

    @property
    def rest(self) -> Money:
        """What has neither gone back nor may be on its way back."""
        locked = reserved_amount((each.state, each.money.amount) for each in self.refunds)
        return Money(self.charged.amount - locked, self.charged.currency)

    @property
    def is_final(self) -> bool:
        """Nothing more is expected of it: ``--watch`` ends."""
        if self.status in (PaymentStatus.PENDING, PaymentStatus.PROCESSING, PaymentStatus.FAILED):
            return not self.provider_open  # closed at the provider: money of another amount, for a person
        return True

    def seeded(self) -> dict[str, Any]:
        """The body of ``GET /status`` as the seed gives it."""
        return {
            "payment_id": self.payment_id,
            "participant_id": self.participant_id,
            "status": self.status.value,
            "method": self.method.public_name,
            "amount": self.charged.amount,
            "currency": self.charged.currency.value,
            "created_at": instant(self.created_at),
            "updated_at": instant(self.updated_at),
            "failure_reason": self.failure_reason,
        }

    def full(self) -> dict[str, Any]:
        """Everything, for ``--json`` and the admin."""
        return self.seeded() | {
            "code": self.code,
            "participant_name": self.participant_name,
            "tournament_id": self.tournament_id,
            "tournament_name": self.tournament_name,
            "category": self.category,
            "channel": self.channel.value,
            "refunded_amount": self.refunded.amount,
            "requested_amount": self.requested.amount,
            "requested_currency": self.requested.currency.value,
            "completed_at": instant(self.completed_at),
            "expires_at": instant(self.expires_at),
            "scanned_at": instant(self.scanned_at),
            "provider_ref": self.provider_ref,
            "operation_number": self.operation_number,
            "wallet": self.wallet,
            "late": self.is_late,
            "duplicate": self.is_duplicate,
            "started_by": self.started_by,
            "refunds": [each.full() for each in self.refunds],
            "dispute": self.dispute.full() if self.dispute else None,
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """How to pay an open payment. Secret: shown to whom it belongs, never logged."""

    view: PaymentView
    payment_url: str | None
    qr_payload: str | None = field(repr=False)
    qr_image_url: str | None = field(repr=False)
    client_secret: str | None = field(repr=False)

    def seeded(self) -> dict[str, Any]:
        """The body of ``POST /initiate`` as the seed gives it, by method."""
        body: dict[str, Any] = {"payment_id": self.view.payment_id}
        if self.view.channel is Channel.STRIPE_INTENT:
            body["client_secret"] = self.client_secret
        else:
            body["payment_url"] = self.payment_url
            body["qr_image_url"] = self.qr_image_url
            body["expires_at"] = instant(self.view.expires_at)
        return body | {"amount": self.view.charged.amount, "currency": self.view.charged.currency.value}


async def one(ctx: AppContext, payment: str) -> PaymentView:
    """
    :param payment: its id, or its short code as a person typed it.
    :raises NotFound: no such payment, or a code that was mistyped.
    """
    views, _ = await many(ctx, Filter(payment_id=payment), limit=1)
    if not views and payment_code.looks_like_one(payment):
        async with ctx.db.reading() as session:
            found = await payments.find_by_code(session, payment_code.read(payment))
        views = [await one(ctx, found)] if found else []
    if not views:
        raise NotFound(f"There is no payment {payment[:64]!r}", next_step="procomp-pay list")
    return views[0]


async def owner_of(ctx: AppContext, participant_id: str) -> str:
    """The platform's user to whom a participant belongs.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        return (await people.participant(session, participant_id)).user_id


async def latest(ctx: AppContext, participant_id: str) -> PaymentView:
    """The payment that settled a participant's fee, else the newest one.

    A newer try that came to nothing must not hide that the fee is paid.

    :raises NotFound: no such participant, or one without a payment.
    """
    async with ctx.db.reading() as session:
        who = await people.participant(session, participant_id)
        wanted = Filter(participant_id=participant_id, payment_id=who.payment_id)
        rows, _ = await listing.page(session, wanted, limit=1)
        found = await of_rows(session, rows)
    if found:
        return found[0]
    raise NotFound(
        f"{who.full_name} has no payment yet",
        next_step=f"procomp-pay initiate {participant_id} --method kaspi_qr",
    )


async def history(ctx: AppContext, participant_id: str) -> list[tuple[PaymentView, list[Move]]]:
    """All payments of a participant, newest first, each with its moves, oldest first.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        await people.participant(session, participant_id)
    views, _ = await many(ctx, Filter(participant_id=participant_id), limit=listing.MOST)
    async with ctx.db.reading() as session:
        return [
            (view, [move_view(e) for e in await audit.entries(session, view.payment_id)]) for view in views
        ]


async def fees_for(ctx: AppContext, participant_id: str) -> EntryFees:
    """The entry fees of a participant's tournament.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        who = await people.participant(session, participant_id)
        return await people.entry_fees(session, await people.tournament(session, who.tournament_id))


async def many(
    ctx: AppContext, wanted: Filter, *, limit: int = 50, cursor: str | None = None
) -> tuple[list[PaymentView], str | None]:
    """A page of payments, newest first, and the next page's cursor."""
    async with ctx.db.reading() as session:
        rows, following = await listing.page(session, wanted, limit=limit, cursor=cursor)
        return await of_rows(session, rows), following


async def opening(ctx: AppContext, payment_id: str) -> Opening:
    """How to pay a payment, with its secrets decrypted.

    :raises NotFound: no such payment.
    """
    async with ctx.db.reading() as session:
        rows, _ = await listing.page(session, Filter(payment_id=payment_id), limit=1)
        found = await of_rows(session, rows)
    if not rows:
        raise NotFound(f"There is no payment {payment_id[:64]!r}", next_step="procomp-pay list")
    detail = rows[0][1]
    qr_token = _decrypted(ctx, detail.qr_token_enc)
    payload = qr_token or detail.payment_url
    return Opening(
        view=found[0],
        payment_url=detail.payment_url,
        qr_payload=payload,
        qr_image_url=qr_address(ctx, payment_id) if payload else None,
        client_secret=_decrypted(ctx, detail.client_secret_enc),
    )


def qr_address(ctx: AppContext, payment_id: str, kind: str = "png") -> str:
    """The signed address of a payment's QR picture: whoever was not given it cannot guess it."""
    signature = ctx.keyring.sign(QR_PURPOSE, payment_id)
    return f"{ctx.base_url}/api/v1/payments/{payment_id}/qr.{kind}?s={signature}"


def _decrypted(ctx: AppContext, secret: str | None) -> str | None:
    return None if secret is None else ctx.keyring.decrypt(secret)


async def of_rows(session: AsyncSession, rows: list[listing.Row]) -> list[PaymentView]:
    """Rows of a list as they are shown."""
    refunds = await refund_repository.of_payments(session, [row[0].id for row in rows])
    return [_view(row, [refund_view(each) for each in refunds.get(row[0].id, [])]) for row in rows]


def _view(row: listing.Row, refunds: list[RefundView]) -> PaymentView:
    payment, detail, who, tournament = row
    charged = Money(detail.charged_amount, detail.charged_currency)
    return PaymentView(
        payment_id=payment.id,
        code=payment_code.shown(detail.short_code) if detail.short_code else None,
        participant_id=detail.participant_id,
        participant_name=who.full_name if who else "(removed)",
        tournament_id=tournament.id,
        tournament_name=tournament.name,
        category=who.category if who else None,
        status=payment.status,
        method=payment.method or PaymentMethod.KASPI_QR,
        channel=detail.channel,
        charged=charged,
        requested=Money(detail.requested_amount, detail.requested_currency),
        refunded=Money(detail.refunded_amount, charged.currency),
        created_at=detail.created_at,
        updated_at=payment.updated_at,
        completed_at=detail.completed_at,
        expires_at=detail.expires_at,
        scanned_at=detail.scanned_at,
        failure_reason=payment.failure_reason,
        provider_ref=detail.provider_ref,
        operation_number=payment.kaspi_transaction_id,
        wallet=detail.wallet,
        is_late=detail.is_late,
        is_duplicate=detail.is_duplicate,
        provider_open=detail.provider_open,
        started_by=detail.started_by,
        refunds=tuple(refunds),
        dispute=dispute_view(detail),
    )
