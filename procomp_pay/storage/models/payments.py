"""The table of our data about payments. Columns ending in ``_enc`` contain ciphertext of ``Keyring``.

Each table takes some milliseconds of a command's start, so a command imports only those that it uses: each
subject has a module. :mod:`procomp_pay.storage.models.schema` has all of them, and the partial indexes.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, false
from sqlalchemy import text as sql
from sqlmodel import Field

from procomp_pay.domain.money import Currency
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, amount, check_word, key, moment, payment_key, text, word


class PaymentDetail(Row, table=True):
    """Our data about a payment beyond the platform's columns; one row for each payment.

    ``participant_id`` is no foreign key: if the platform deletes a participant, the payment is kept.
    ``provider_open`` means that, as far as we know, money can still arrive through the provider's object.
    """

    __tablename__ = "pay_payment_detail"
    __table_args__ = (
        check_word("channel", Channel),
        check_word("dispute_state", DisputeState),
        check_word("create_state", CreateState),
        check_word("requested_currency", Currency),
        check_word("charged_currency", Currency),
        CheckConstraint("refunded_amount >= 0 AND refunded_amount <= charged_amount", name="refunded_amount"),
        CheckConstraint("requested_amount > 0 AND charged_amount > 0", name="amounts"),
        Index(None, "participant_id", "created_at", "payment_id"),
        Index(None, "created_at", "payment_id"),
    )

    payment_id: str = Field(sa_column=key("payment_id", payment_key()))
    participant_id: str = Field(sa_column=text("participant_id"))
    channel: Channel = Field(sa_column=word("channel", Channel))
    create_state: CreateState = Field(sa_column=word("create_state", CreateState))
    provider_open: bool = Field(sa_column=Column("provider_open", Boolean, nullable=False))
    #: The provider's main id: ``cs_…``, ``pi_…`` or Kaspi's QrPaymentId.
    provider_ref: str | None = Field(default=None, sa_column=text("provider_ref", null=True, unique=True))
    #: The code that people type (``domain.payment_code``); none for payments older than the codes.
    short_code: str | None = Field(default=None, sa_column=text("short_code", null=True, unique=True))
    charge_id: str | None = Field(default=None, sa_column=text("charge_id", null=True))
    wallet: str | None = Field(default=None, sa_column=text("wallet", null=True))
    payment_url: str | None = Field(default=None, sa_column=text("payment_url", null=True))
    return_url: str | None = Field(default=None, sa_column=text("return_url", null=True))
    client_secret_enc: str | None = Field(default=None, sa_column=text("client_secret_enc", null=True))
    qr_token_enc: str | None = Field(default=None, sa_column=text("qr_token_enc", null=True))
    #: The phone number that an invoice is sent to.
    phone_enc: str | None = Field(default=None, sa_column=text("phone_enc", null=True))
    requested_amount: Decimal = Field(sa_column=amount("requested_amount"))
    requested_currency: Currency = Field(sa_column=word("requested_currency", Currency))
    charged_amount: Decimal = Field(sa_column=amount("charged_amount"))
    charged_currency: Currency = Field(sa_column=word("charged_currency", Currency))
    refunded_amount: Decimal = Field(
        default=Decimal("0.00"), sa_column=amount("refunded_amount", server_default=sql("0"))
    )
    is_late: bool = Field(
        default=False, sa_column=Column("is_late", Boolean, nullable=False, server_default=false())
    )
    is_duplicate: bool = Field(
        default=False, sa_column=Column("is_duplicate", Boolean, nullable=False, server_default=false())
    )
    poll_interval_s: int | None = Field(default=None, sa_column=Column("poll_interval_s", Integer))
    scan_timeout_s: int | None = Field(default=None, sa_column=Column("scan_timeout_s", Integer))
    confirm_timeout_s: int | None = Field(default=None, sa_column=Column("confirm_timeout_s", Integer))
    scanned_at: datetime | None = Field(default=None, sa_column=moment("scanned_at", null=True))
    expires_at: datetime | None = Field(default=None, sa_column=moment("expires_at", null=True))
    next_poll_at: datetime | None = Field(default=None, sa_column=moment("next_poll_at", null=True))
    #: Time of the provider's newest event.
    news_at: datetime | None = Field(default=None, sa_column=moment("news_at", null=True))
    #: Who asked to cancel; written before the provider is called, so that a crash cannot lose it.
    cancel_requested_by: str | None = Field(default=None, sa_column=text("cancel_requested_by", null=True))
    cancel_requested_at: datetime | None = Field(
        default=None, sa_column=moment("cancel_requested_at", null=True)
    )
    sent_at: datetime | None = Field(default=None, sa_column=moment("sent_at", null=True))
    completed_at: datetime | None = Field(default=None, sa_column=moment("completed_at", null=True))
    #: The dispute over it, as the provider reports it; beside it others have a discrepancy each.
    dispute_id: str | None = Field(default=None, sa_column=text("dispute_id", null=True))
    dispute_state: DisputeState | None = Field(
        default=None, sa_column=word("dispute_state", DisputeState, null=True)
    )
    dispute_amount: Decimal | None = Field(default=None, sa_column=amount("dispute_amount", null=True))
    dispute_reason: str | None = Field(default=None, sa_column=text("dispute_reason", null=True))
    #: The deadline for evidence.
    dispute_due_at: datetime | None = Field(default=None, sa_column=moment("dispute_due_at", null=True))
    #: Time of the dispute's newest event at the provider.
    dispute_at: datetime | None = Field(default=None, sa_column=moment("dispute_at", null=True))
    started_by: str = Field(sa_column=text("started_by"))
    request_id: str | None = Field(default=None, sa_column=text("request_id", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    updated_at: datetime = Field(sa_column=moment("updated_at"))
