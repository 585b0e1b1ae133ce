"""Define the platform's tables, exactly as Prisma Migrate makes them on PostgreSQL.

The platform's Prisma client reads and writes the same rows, so we may not change them. Its names may be
others: see :mod:`procomp_pay.config.platform_map`.
On SQLite, in a stand-alone installation, the native enums are VARCHAR with a CHECK.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ForeignKey, Index
from sqlmodel import Field

from procomp_pay.config import platform_map
from procomp_pay.domain.labels import NO_LABEL
from procomp_pay.domain.money import AnyCurrency, Currency
from procomp_pay.domain.states import (
    AnyMethod,
    AnyParticipantStatus,
    AnyRole,
    AnyStatus,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
    UserRole,
)
from procomp_pay.storage.models.columns import Row, amount, document, key, text
from procomp_pay.storage.models.types import PlatformLabel, PlatformText, UtcMillis, now_millis

#: What is shown for a name that the platform does not have.
UNKNOWN = "(unknown)"


def _enum(
    name: str, values: type[StrEnum], *, null: bool = False, default: StrEnum | None = None
) -> Column[Any]:
    label = PlatformLabel(values, None if null else NO_LABEL)
    return Column(name, label, nullable=null, server_default=default)


def _needed(name: str, null: str = UNKNOWN) -> Column[Any]:
    """Return a TEXT column that a platform may have as nullable; ``null`` is read in place of NULL."""
    return Column(name, PlatformText(null), nullable=False)


def _ref(target: str, on_delete: str = "RESTRICT") -> ForeignKey:
    return ForeignKey(f"{target}.id", ondelete=on_delete, onupdate="CASCADE")


def _created() -> Column[Any]:
    return Column("createdAt", UtcMillis, nullable=False, server_default=now_millis())


def _updated() -> Column[Any]:
    # no default, as Prisma's @updatedAt: the writer sets it
    return Column("updatedAt", UtcMillis, nullable=False)


class User(Row, table=True):
    """A user of the platform."""

    __tablename__ = "User"
    __table_args__ = (Index("User_email_key", "email", unique=True),)

    id: str = Field(sa_column=key())
    email: str = Field(sa_column=_needed("email", null=""))
    name: str = Field(sa_column=_needed("name"))
    role: AnyRole = Field(default=UserRole.USER, sa_column=_enum("role", UserRole, default=UserRole.USER))


class Tournament(Row, table=True):
    """A tournament with its entry fee; further currencies are in ``pay_tournament_fee``."""

    __tablename__ = "Tournament"

    id: str = Field(sa_column=key())
    name: str = Field(sa_column=_needed("name"))
    entry_fee: Decimal = Field(sa_column=amount("entryFee"))
    currency: AnyCurrency = Field(sa_column=_enum("currency", Currency))
    starts_at: datetime | None = Field(sa_column=Column("startsAt", UtcMillis, nullable=False))
    created_at: datetime = Field(sa_column=_created())
    updated_at: datetime = Field(sa_column=_updated())


class Participant(Row, table=True):
    """A registration.

    ``payment_id`` is the payment that settled it. The platform may also link one that is not paid, which
    settles nothing: see :mod:`procomp_pay.storage.models.paid`.
    """

    __tablename__ = "Participant"
    __table_args__ = (
        Index("Participant_paymentId_key", "paymentId", unique=True),
        Index("Participant_tournamentId_idx", "tournamentId"),
        Index("Participant_userId_idx", "userId"),
    )

    id: str = Field(sa_column=key())
    user_id: str | None = Field(sa_column=text("userId", _ref("User")))
    tournament_id: str = Field(sa_column=text("tournamentId", _ref("Tournament")))
    status: AnyParticipantStatus = Field(
        default=ParticipantStatus.REGISTERED,
        sa_column=_enum("status", ParticipantStatus, default=ParticipantStatus.REGISTERED),
    )
    payment_id: str | None = Field(
        default=None, sa_column=text("paymentId", _ref("Payment", on_delete="SET NULL"), null=True)
    )
    full_name: str = Field(sa_column=_needed("fullName"))
    category: str | None = Field(default=None, sa_column=text("category", null=True))
    created_at: datetime = Field(sa_column=_created())
    updated_at: datetime = Field(sa_column=_updated())


class Payment(Row, table=True):
    """A payment: only the platform's columns; ours are in ``pay_payment_detail``."""

    __tablename__ = "Payment"
    __table_args__ = (
        Index("Payment_createdAt_id_idx", "createdAt", "id"),
        Index("Payment_userId_createdAt_idx", "userId", "createdAt"),
        Index("Payment_tournamentId_createdAt_idx", "tournamentId", "createdAt"),
        Index("Payment_status_createdAt_idx", "status", "createdAt"),
        Index("Payment_stripePaymentId_idx", "stripePaymentId"),
        Index("Payment_stripeSessionId_idx", "stripeSessionId"),
        Index("Payment_kaspiQrCode_idx", "kaspiQrCode"),
    )

    id: str = Field(sa_column=key())
    amount: Decimal = Field(sa_column=amount("amount"))
    currency: AnyCurrency = Field(
        default=Currency.USD, sa_column=_enum("currency", Currency, default=Currency.USD)
    )
    status: AnyStatus = Field(
        default=PaymentStatus.PENDING,
        sa_column=_enum("status", PaymentStatus, default=PaymentStatus.PENDING),
    )
    method: AnyMethod | None = Field(default=None, sa_column=_enum("method", PaymentMethod, null=True))
    stripe_payment_id: str | None = Field(default=None, sa_column=text("stripePaymentId", null=True))
    stripe_session_id: str | None = Field(default=None, sa_column=text("stripeSessionId", null=True))
    kaspi_qr_code: str | None = Field(default=None, sa_column=text("kaspiQrCode", null=True))
    kaspi_transaction_id: str | None = Field(default=None, sa_column=text("kaspiTransactionId", null=True))
    apple_pay_id: str | None = Field(default=None, sa_column=text("applePayId", null=True))
    google_pay_id: str | None = Field(default=None, sa_column=text("googlePayId", null=True))
    #: The column ``metadata``: SQLAlchemy reserves that name. Contains ``participantId``.
    meta: Any = Field(default=None, sa_column=document("metadata", null=True))
    failure_reason: str | None = Field(default=None, sa_column=text("failureReason", null=True))
    user_id: str | None = Field(sa_column=text("userId", _ref("User")))
    tournament_id: str = Field(sa_column=text("tournamentId", _ref("Tournament")))
    created_at: datetime = Field(sa_column=_created())
    updated_at: datetime = Field(sa_column=_updated())


if _map := platform_map.current():
    from procomp_pay.storage.models.mapping import rename

    _models = {"User": User, "Tournament": Tournament, "Participant": Participant, "Payment": Payment}
    rename(_map, _models, UNKNOWN)
