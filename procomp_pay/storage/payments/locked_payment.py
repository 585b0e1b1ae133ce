"""Define a locked payment as settlement uses it: alone, or one of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import (
    AnyMethod,
    AnyParticipantStatus,
    AnyStatus,
    Channel,
    CreateState,
    ParticipantStatus,
)
from procomp_pay.domain.transitions import PaymentSnapshot
from procomp_pay.storage.audit.chain import AuditRecord
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment


@dataclass(slots=True)
class PaymentRow:
    """The columns of a ``"Payment"`` that settlement reads and writes in a batch: the attributes of
    :class:`~procomp_pay.storage.models.platform.Payment` without the ORM behind them."""

    id: str
    tournament_id: str
    status: AnyStatus
    method: AnyMethod | None
    stripe_payment_id: str | None
    stripe_session_id: str | None
    kaspi_qr_code: str | None
    kaspi_transaction_id: str | None
    apple_pay_id: str | None
    google_pay_id: str | None
    failure_reason: str | None
    updated_at: datetime


@dataclass(slots=True)
class DetailRow:
    """The same for ``pay_payment_detail``."""

    payment_id: str
    participant_id: str
    channel: Channel
    create_state: CreateState
    provider_open: bool
    provider_ref: str | None
    charge_id: str | None
    wallet: str | None
    charged_amount: Decimal
    charged_currency: Currency
    refunded_amount: Decimal
    is_late: bool
    is_duplicate: bool
    scanned_at: datetime | None
    next_poll_at: datetime | None
    news_at: datetime | None
    cancel_requested_by: str | None
    completed_at: datetime | None
    dispute_state: DisputeState | None
    updated_at: datetime


@dataclass(slots=True)
class ParticipantRow:
    """The same for ``"Participant"``."""

    id: str
    tournament_id: str
    status: AnyParticipantStatus
    payment_id: str | None
    updated_at: datetime


@dataclass(slots=True)
class OpenDetailRow(DetailRow):
    """The same with what the provider returned to be paid with."""

    payment_url: str | None
    client_secret_enc: str | None
    qr_token_enc: str | None
    poll_interval_s: int | None
    scan_timeout_s: int | None
    confirm_timeout_s: int | None
    expires_at: datetime | None


@dataclass(slots=True)
class PaymentRows:
    """A payment with its detail."""

    payment: Payment | PaymentRow
    detail: PaymentDetail | DetailRow

    @property
    def charged(self) -> Money:
        return Money(self.detail.charged_amount, self.detail.charged_currency)


@dataclass(slots=True)
class LockedPayment(PaymentRows, ABC):
    """A payment with its detail and participant. The participant is ``None`` if the platform deleted it.

    Changes of the rows are written at the end of the transaction at the latest.

    :param unpaid_link: another payment that the platform linked to the participant although it is not paid.
    """

    participant: Participant | ParticipantRow | None
    unpaid_link: str | None = field(default=None, kw_only=True)

    @property
    def settled_by(self) -> str | None:
        """The payment that settles the participant's fee, which may be this one while it is still open."""
        link = self.participant.payment_id if self.participant else None
        return None if link == self.unpaid_link else link

    def snapshot(self) -> PaymentSnapshot:
        """Return the snapshot that the transition rules read."""
        payment, detail, participant = self.payment, self.detail, self.participant
        return PaymentSnapshot(
            payment_id=payment.id,
            status=payment.status,
            charged=self.charged,
            participant_status=participant.status if participant else None,
            settled_by=self.settled_by,
            provider_open=detail.provider_open,
            was_paid=detail.completed_at is not None,
            provider_payment=payment.stripe_payment_id or payment.kaspi_qr_code,
            cancel_requested=detail.cancel_requested_by is not None,
            is_duplicate=detail.is_duplicate,
            moved_away=participant is not None and participant.tournament_id != payment.tournament_id,
            news_at=detail.news_at,
            failure_reason=payment.failure_reason,
        )

    @property
    def is_settled_otherwise(self) -> bool:
        """True if another payment settled the fee, or the platform took it without one, such as in cash."""
        if self.settled_by is None:
            return self.participant is not None and self.participant.status is ParticipantStatus.PAID
        return self.settled_by != self.payment.id

    @abstractmethod
    async def append_audit_entry(self, session: AsyncSession, record: AuditRecord, at: datetime) -> None:
        """Append to the payment's audit chain."""

    @abstractmethod
    async def enqueue_message(self, session: AsyncSession, message: dict[str, Any]) -> None:
        """Insert a row of the outbox, unless one with its dedup key exists."""

    @abstractmethod
    async def poll_other_payments_now(self, session: AsyncSession, now: datetime) -> None:
        """Make the participant's other open payments due for polling, because this one settled the fee."""
