"""Read payments as the API and the terminal show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from procomp_pay.domain import payment_code
from procomp_pay.domain.errors import ErrorCode, InvalidAmount, NotFound
from procomp_pay.domain.money import AnyCurrency, Currency, Money
from procomp_pay.domain.refunds import reserved_amount
from procomp_pay.domain.states import (
    PAID_STATUSES,
    UNPAID_STATUSES,
    AnyMethod,
    AnyStatus,
    Channel,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.refund import (
    DisputeView,
    RefundView,
    dispute_view,
    plain_decline,
    refund_view,
)
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database.keyset_cursor import MOST
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.payments import listing, lookup
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.registrations import lookup as registrations

if TYPE_CHECKING:
    from procomp_pay.storage.payments.batch import PaymentWithSecrets
    from procomp_pay.storage.payments.locked_payment import OpenDetailRow

#: The purpose in the signature of a QR image's URL.
QR_PURPOSE = "qr-picture"


@dataclass(frozen=True, slots=True)
class OtherAmount:
    """Money that came for an unpaid payment in another amount.

    :param received: the amount, or the text that the provider reported; ``None`` if it is not recorded.
    """

    discrepancy_id: str
    received: str | None


@dataclass(frozen=True, slots=True)
class SettledBy:
    """The other payment that settled the fee of an unpaid payment."""

    payment_id: str
    method: AnyMethod
    at: datetime


@dataclass(frozen=True, slots=True)
class PaymentView:
    """One payment, without secrets; those are in :class:`Opening` only.

    :param is_marked_paid: not paid, but the platform marks the participant as paid, without a payment.
    :param platform_created_at: of the platform's row, which 0.1.0 wrote some milliseconds after ours.
    """

    payment_id: str
    code: str | None
    participant_id: str
    participant_name: str
    tournament_id: str
    tournament_name: str
    category: str | None
    status: AnyStatus
    method: AnyMethod
    channel: Channel
    charged: Money
    requested: Money
    refunded: Money
    created_at: datetime
    platform_created_at: datetime
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
    other_amount: OtherAmount | None = None
    settled_by: SettledBy | None = None
    is_marked_paid: bool = False

    @property
    def rest(self) -> Money:
        """The amount that can still be refunded: neither refunded nor in a pending refund."""
        reserved = reserved_amount((refund.state, refund.money.amount) for refund in self.refunds)
        return Money(self.charged.amount - reserved, self.charged.currency)

    @property
    def is_final(self) -> bool:
        """True if no further change is expected, so that ``--watch`` ends."""
        if self.status in (PaymentStatus.PENDING, PaymentStatus.PROCESSING, PaymentStatus.FAILED):
            return not self.provider_open  # closed at the provider: a different amount was received
        return True

    @property
    def has_or_awaits_money(self) -> bool:
        """True unless it is over and nobody paid."""
        unpaid = (PaymentStatus.FAILED, PaymentStatus.CANCELLED, PaymentStatus.EXPIRED)
        return self.provider_open or self.status not in unpaid

    def brief(self) -> dict[str, Any]:
        """Return the fields by which ``status --json`` names a payment beside the one that is asked about."""
        names = (
            "payment_id", "code", "status", "method", "amount", "currency", "refunded_amount", "duplicate",
        )  # fmt: skip
        full = self.full()
        return {name: full[name] for name in names}

    def seeded(self) -> dict[str, Any]:
        """Return the body of ``GET /status`` (SPEC)."""
        return _Summary(
            self.payment_id, self.participant_id, self.status, self.method, self.charged.amount,
            self.charged.currency, self.platform_created_at, self.updated_at, self.failure_reason,
        ).body()  # fmt: skip

    def for_owner(self) -> PaymentView:
        """Return what the participant's user may read of it."""
        return replace(self, failure_reason=plain_decline(self.failure_reason))

    def full(self) -> dict[str, Any]:
        """Return all fields, for ``--json``; the admin API puts :meth:`seeded` over them."""
        return self.seeded() | {
            "created_at": instant(self.created_at),
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
            "refunds": [refund.full() for refund in self.refunds],
            "dispute": self.dispute.full() if self.dispute else None,
        }


class _Summary(NamedTuple):
    payment_id: str
    participant_id: str
    status: AnyStatus
    method: AnyMethod | None
    amount: Decimal
    currency: AnyCurrency
    created_at: datetime
    updated_at: datetime
    failure_reason: str | None

    def body(self) -> dict[str, Any]:
        return {
            "payment_id": self.payment_id,
            "participant_id": self.participant_id,
            "status": self.status.value,
            "method": (self.method or PaymentMethod.KASPI_QR).public_name,
            "amount": self.amount,
            "currency": self.currency.value,
            "created_at": instant(self.created_at),
            "updated_at": instant(self.updated_at),
            "failure_reason": self.failure_reason,
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """The data needed to pay an open payment. Secret: shown to its owner only, never logged."""

    view: PaymentView
    payment_url: str | None
    qr_payload: str | None = field(repr=False)
    qr_image_url: str | None = field(repr=False)
    client_secret: str | None = field(repr=False)

    def seeded(self) -> dict[str, Any]:
        """Return the body of ``POST /initiate`` (SPEC)."""
        view = self.view
        return _WayToPay(
            view.payment_id, view.channel, view.charged, view.method, self.payment_url, self.qr_image_url,
            view.expires_at, self.client_secret,
        ).body()  # fmt: skip


class _WayToPay(NamedTuple):
    payment_id: str
    channel: Channel
    charged: Money
    method: AnyMethod
    payment_url: str | None
    qr_image_url: str | None
    expires_at: datetime | None
    client_secret: str | None

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /initiate``, which depends on the method."""
        body: dict[str, Any] = {"payment_id": self.payment_id}
        if self.channel is Channel.STRIPE_INTENT:
            body["client_secret"] = self.client_secret
        else:
            body["payment_url"] = self.payment_url
            body["qr_image_url"] = self.qr_image_url
            body["expires_at"] = instant(self.expires_at)
        return body | {
            "amount": self.charged.amount,
            "currency": self.charged.currency.value,
            "method": self.method.public_name,
        }


def way_to_pay(ctx: AppContext, started: PaymentWithSecrets) -> dict[str, Any]:
    """Return the body of ``POST /initiate`` of rows that were just read. Secret, as :class:`Opening`."""
    payment, detail = started.payment, started.detail
    return _WayToPay(
        payment.id,
        detail.channel,
        started.charged,
        payment.method or PaymentMethod.KASPI_QR,
        detail.payment_url,
        _qr_image_url(ctx, payment.id, detail),
        detail.expires_at,
        _decrypted(ctx, detail.client_secret_enc),
    ).body()


async def one(ctx: AppContext, payment: str) -> PaymentView:
    """Return a payment.

    :param payment: its id, or its short code as typed.
    :raises NotFound: no such payment, or a mistyped code.
    """
    views, _ = await many(ctx, Filter(payment_id=payment), limit=1)
    if not views and payment_code.looks_like_one(payment):
        async with ctx.db.reading() as session:
            payment_id = await lookup.find_by_code(session, payment_code.read(payment))
        views = [await one(ctx, payment_id)] if payment_id else []
    if not views:
        raise NotFound(
            N_("There is no payment %(payment)s", payment=repr(payment[:64])),
            next_step="procomp-pay list",
            code=ErrorCode.PAYMENT_NOT_FOUND,
        )
    return views[0]


async def owner_of(ctx: AppContext, participant_id: str) -> str | None:
    """Return the platform user who registered a participant; ``None`` if the platform has none.

    :raises NotFound: no such participant.
    """
    async with ctx.db.selecting() as session:
        return await registrations.owner_of(session, participant_id)


async def latest(ctx: AppContext, participant_id: str) -> PaymentView:
    """Return the payment that settled a participant's fee, else the newest one.

    :raises NotFound: as :func:`latest_and_others`.
    """
    return (await latest_and_others(ctx, participant_id))[0]


async def latest_and_others(ctx: AppContext, participant_id: str) -> tuple[PaymentView, list[PaymentView]]:
    """Return the payment that settled a participant's fee, else the newest one; and those beside it through
    which money came or may come, newest first, without their refunds.

    A newer unsuccessful payment must not hide that the fee is paid.

    :raises NotFound: no such participant, or one without a payment.
    """
    async with ctx.db.reading() as session:
        participant = await registrations.participant(session, participant_id)
        settled_by = await registrations.settled_by(session, participant)
        wanted = Filter(participant_id=participant_id)
        rows, following = await listing.page(session, wanted, limit=MOST)
        shown = [row for row in rows if settled_by in (None, row[0].id)][:1]
        if not shown and following is not None:  # it is older than all of these
            shown, _ = await listing.page(session, replace(wanted, payment_id=settled_by), limit=1)
        views = await of_rows(session, shown)
    if not views:
        raise _no_payment(participant, settled_by)
    others = [_view(row, []) for row in rows if row[0].id != views[0].payment_id]
    return views[0], [view for view in others if view.has_or_awaits_money]


async def standing(
    ctx: AppContext, participant_id: str, check: Callable[[str | None], None], *, plain: bool
) -> dict[str, Any]:
    """Return the body of ``GET /status`` of the payment that :func:`latest` returns, by one read.

    :param check: called with the owner's id before anything is told; raises if the caller may not read it.
    :param plain: what the participant's user may read of it.
    :raises NotFound: no such participant, or one without a payment.
    """
    async with ctx.db.selecting() as session:
        row = await listing.standing(session, participant_id)
    if row is None:
        raise registrations.not_found(participant_id)
    check(row.owner_id)
    if row.payment is None:
        raise _no_payment(row, row.settled_by)
    summary = _Summary(*row.payment)
    if plain:
        summary = summary._replace(failure_reason=plain_decline(summary.failure_reason))
    return summary.body()


def _no_payment(participant: Participant | listing.Standing, settled_by: str | None) -> NotFound:
    message = N_("%(name)s has no payment yet", name=participant.full_name)
    next_step = f"procomp-pay initiate {participant.id} --method kaspi_qr"
    if settled_by is not None:
        message = N_(
            "%(name)s has paid by payment %(payment)s, which the platform took by itself: it is not adopted",
            name=participant.full_name,
            payment=settled_by,
        )
        next_step = "procomp-pay db adopt --dry-run"
    elif participant.status is ParticipantStatus.PAID:
        message = N_(
            "%(name)s is marked as paid by the platform, without a payment here", name=participant.full_name
        )
        next_step = N_("ask who runs the platform how the fee was paid")
    return NotFound(message, next_step=next_step, code=ErrorCode.NO_PAYMENT)


async def many(
    ctx: AppContext, wanted: Filter, *, limit: int = 50, cursor: str | None = None
) -> tuple[list[PaymentView], str | None]:
    """Return a page of payments, newest first, and the cursor of the next page."""
    async with ctx.db.selecting() as session:
        rows, next_cursor = await listing.page(session, wanted, limit=limit, cursor=cursor)
        return await of_rows(session, rows), next_cursor


async def documents(
    ctx: AppContext, wanted: Filter, *, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of payments as the admin API lists them, newest first, and the next page's cursor."""
    async with ctx.db.selecting() as session:
        rows, next_cursor = await listing.page(session, wanted, limit=limit, cursor=cursor)
        refunds = await _refunds(session, rows)
    views = [_view(row, refunds.get(row[0].id, [])) for row in rows]
    items = [view.full() | {"created_at": instant(view.platform_created_at)} for view in views]
    return items, next_cursor


async def opening(ctx: AppContext, payment_id: str) -> Opening:
    """Return how to pay a payment, with its secrets decrypted.

    :raises NotFound: no such payment.
    """
    async with ctx.db.reading() as session:
        rows, _ = await listing.page(session, Filter(payment_id=payment_id), limit=1)
        views = await of_rows(session, rows)
    if not rows:
        raise NotFound(
            N_("There is no payment %(payment)s", payment=repr(payment_id[:64])),
            next_step="procomp-pay list",
            code=ErrorCode.PAYMENT_NOT_FOUND,
        )
    detail = rows[0][1]
    return Opening(
        view=views[0],
        payment_url=detail.payment_url,
        qr_payload=_decrypted(ctx, detail.qr_token_enc) or detail.payment_url,
        qr_image_url=_qr_image_url(ctx, payment_id, detail),
        client_secret=_decrypted(ctx, detail.client_secret_enc),
    )


def _qr_image_url(ctx: AppContext, payment_id: str, detail: PaymentDetail | OpenDetailRow) -> str | None:
    """Return the URL of a payment's QR image; ``None`` if it has nothing to show as one."""
    has_payload = detail.qr_token_enc is not None or detail.payment_url
    return qr_address(ctx, payment_id) if has_payload else None


def qr_address(ctx: AppContext, payment_id: str) -> str:
    """Return the signed URL of a payment's QR image, which cannot be guessed."""
    signature = ctx.keyring.sign(QR_PURPOSE, payment_id)
    return f"{ctx.base_url}/api/v1/payments/{payment_id}/qr.png?s={signature}"


def _decrypted(ctx: AppContext, secret: str | None) -> str | None:
    return None if secret is None else ctx.keyring.decrypt(secret)


async def of_rows(session: AsyncSession, rows: list[listing.Row]) -> list[PaymentView]:
    """Return the views of listed rows."""
    refunds = await _refunds(session, rows)
    unpaid = [row for row in rows if row[0].status not in PAID_STATUSES]
    amounts = await _other_amounts(session, unpaid)
    settled = await _settled_by(session, unpaid)
    return [
        replace(
            _view(row, refunds.get(row[0].id, [])),
            other_amount=amounts.get(row[0].id),
            settled_by=settled.get(row[0].id),
        )
        for row in rows
    ]


async def _refunds(session: AsyncSession, rows: list[listing.Row]) -> dict[str, list[RefundView]]:
    found = await refund_repository.of_payments(session, [row[0].id for row in rows])
    return {payment_id: [refund_view(refund) for refund in refunds] for payment_id, refunds in found.items()}


async def _other_amounts(session: AsyncSession, unpaid: list[listing.Row]) -> dict[str, OtherAmount]:
    if not unpaid:
        return {}
    found = await listing.other_amounts(session, [row[0].id for row in unpaid])
    return {payment_id: OtherAmount(row.id, _received(row.detail)) for payment_id, row in found.items()}


def _received(detail: dict[str, Any]) -> str | None:
    """Return the amount that came, as settlement or reconciliation recorded it."""
    if detail.get("said"):
        return str(detail["said"])
    paid = detail.get("paid") or detail.get("theirs") or {}
    try:
        return str(Money(Decimal(paid["amount"]), Currency(paid["currency"])))
    except (KeyError, TypeError, ValueError, ArithmeticError, InvalidAmount):
        return None


async def _settled_by(session: AsyncSession, unpaid: list[listing.Row]) -> dict[str, SettledBy]:
    others = {
        payment.id: participant.payment_id
        for payment, _, participant, _ in unpaid
        if participant is not None and participant.payment_id not in (None, payment.id)
    }
    if not others:
        return {}
    payments_by_id = await listing.settling(session, set(others.values()))
    return {
        payment_id: SettledBy(other, *payments_by_id[other])
        for payment_id, other in others.items()
        if other in payments_by_id
    }


def _view(row: listing.Row, refunds: list[RefundView]) -> PaymentView:
    payment, detail, participant, tournament = row
    charged = Money(detail.charged_amount, detail.charged_currency)
    return PaymentView(
        payment_id=payment.id,
        code=payment_code.shown(detail.short_code) if detail.short_code else None,
        participant_id=detail.participant_id,
        participant_name=participant.full_name if participant else "(removed)",
        tournament_id=tournament.id,
        tournament_name=tournament.name,
        category=participant.category if participant else None,
        status=payment.status,
        method=payment.method or PaymentMethod.KASPI_QR,
        channel=detail.channel,
        charged=charged,
        requested=Money(detail.requested_amount, detail.requested_currency),
        refunded=Money(detail.refunded_amount, charged.currency),
        created_at=detail.created_at,
        platform_created_at=payment.created_at,
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
        is_marked_paid=participant is not None
        and participant.status is ParticipantStatus.PAID
        and participant.payment_id is None
        and payment.status in UNPAID_STATUSES,
    )
