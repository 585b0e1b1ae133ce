"""The module's tables that belong to one payment. Columns ending in ``_enc`` contain ciphertext of
``Keyring``.

Partial indexes are in :mod:`procomp_pay.storage.models.schema`.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    false,
)
from sqlalchemy import text as sql
from sqlmodel import Field

from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.storage.models.columns import (
    Row,
    amount,
    check_word,
    document,
    key,
    moment,
    payment_key,
    text,
    word,
)
from procomp_pay.storage.models.columns import amount as money


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
    #: The newest dispute over it, as the provider reports it.
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


class TournamentFee(Row, table=True):
    """A further entry fee of a tournament: one for each currency."""

    __tablename__ = "pay_tournament_fee"
    __table_args__ = (check_word("currency", Currency), CheckConstraint("amount > 0", name="amount"))

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="RESTRICT"))
    )
    currency: Currency = Field(sa_column=word("currency", Currency, primary_key=True))
    amount: Decimal = Field(sa_column=amount("amount"))
    created_at: datetime = Field(sa_column=moment("created_at"))
    updated_at: datetime = Field(sa_column=moment("updated_at"))


class IdempotencyKey(Row, table=True):
    """A caller's ``Idempotency-Key``, with the fingerprint of its request and the response."""

    __tablename__ = "pay_idempotency_key"

    scope: str = Field(sa_column=key("scope"))
    key: str = Field(sa_column=key("key"))
    fingerprint: str = Field(sa_column=text("fingerprint"))
    payment_id: str | None = Field(default=None, sa_column=text("payment_id", null=True))
    response: Any = Field(default=None, sa_column=document("response", null=True))
    http_status: int | None = Field(default=None, sa_column=Column("http_status", Integer))
    created_at: datetime = Field(sa_column=moment("created_at"))
    finished_at: datetime | None = Field(default=None, sa_column=moment("finished_at", null=True))


class Refund(Row, table=True):
    """A refund. A trigger keeps the refunds of a payment within the charged amount.

    ``sent_at`` without ``provider_refund_id``: the answer was lost, and the refund may exist.
    """

    __tablename__ = "pay_refund"
    __table_args__ = (
        check_word("currency", Currency),
        check_word("state", RefundState),
        CheckConstraint("amount > 0", name="amount"),
        Index(None, "payment_id"),
    )

    id: str = Field(sa_column=key())
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    amount: Decimal = Field(sa_column=amount("amount"))
    currency: Currency = Field(sa_column=word("currency", Currency))
    reason: str = Field(sa_column=text("reason"))
    state: RefundState = Field(default=RefundState.PENDING, sa_column=word("state", RefundState))
    provider_refund_id: str | None = Field(
        default=None, sa_column=text("provider_refund_id", null=True, unique=True)
    )
    requested_by: str = Field(sa_column=text("requested_by"))
    failure_reason: str | None = Field(default=None, sa_column=text("failure_reason", null=True))
    sent_at: datetime | None = Field(default=None, sa_column=moment("sent_at", null=True))
    next_look_at: datetime | None = Field(default=None, sa_column=moment("next_look_at", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    updated_at: datetime = Field(sa_column=moment("updated_at"))


class KaspiOperation(Row, table=True):
    """A number from a Kaspi receipt. It is the primary key, so that one number can settle only one
    payment."""

    __tablename__ = "pay_kaspi_operation"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"), Index(None, "payment_id"))

    operation_number: str = Field(sa_column=key("operation_number"))
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    #: In tenge.
    amount: Decimal = Field(sa_column=amount("amount"))
    paid_at: datetime | None = Field(default=None, sa_column=moment("paid_at", null=True))
    source: str = Field(sa_column=text("source"))
    recorded_by: str = Field(sa_column=text("recorded_by"))
    created_at: datetime = Field(sa_column=moment("created_at"))


class AuditEntry(Row, table=True):
    """An entry of the audit trail: who did what to a payment. Its hash covers the entry before it."""

    __tablename__ = "pay_audit_entry"
    __table_args__ = (UniqueConstraint("payment_id", "seq"),)

    id: int | None = Field(
        default=None,
        sa_column=Column("id", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True),
    )
    payment_id: str = Field(sa_column=text("payment_id"))
    seq: int = Field(sa_column=Column("seq", Integer, nullable=False))
    at: datetime = Field(sa_column=moment("at"))
    actor: str = Field(sa_column=text("actor"))
    source: str = Field(sa_column=text("source"))
    source_id: str | None = Field(default=None, sa_column=text("source_id", null=True))
    request_id: str | None = Field(default=None, sa_column=text("request_id", null=True))
    action: str = Field(sa_column=text("action"))
    before: Any = Field(default=None, sa_column=document("before", null=True))
    after: Any = Field(default=None, sa_column=document("after", null=True))
    note: str | None = Field(default=None, sa_column=text("note", null=True))
    prev_hash: str = Field(sa_column=text("prev_hash"))
    hash: str = Field(sa_column=text("hash"))


class Settlement(Row, table=True):
    """One movement at a provider: a payment, a refund, a dispute, or the reversal of one.

    Written only by ``reconcile``, at most once for each movement, read by API or from a file; never changed.
    Movements that belong to none of our payments (payouts, transfers) are left out.

    ``amount`` is signed as the balance moves: a payment is positive, a refund negative. ``net`` is ``amount``
    minus ``fee``. A fee that a statement does not report is ``NULL``, and so is its net; a returned fee
    (a dispute that was won) is negative. ``currency`` is that of the provider's balance: not always the
    payment's own, nor one that we accept.
    """

    __tablename__ = "pay_settlement"
    __table_args__ = (
        check_word("kind", LineKind),
        UniqueConstraint("provider", "kind", "ref"),
        Index(None, "payment_id"),
        Index(None, "at"),
    )

    id: str = Field(sa_column=key())
    #: ``stripe`` or ``kaspi``.
    provider: str = Field(sa_column=text("provider"))
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    kind: LineKind = Field(sa_column=word("kind", LineKind))
    #: The provider's id of the object that moved it: ``ch_…``, ``re_…``, ``du_…``, a Kaspi operation number.
    ref: str = Field(sa_column=text("ref"))
    #: Stripe's ``txn_…``, if it is known.
    balance_transaction_id: str | None = Field(
        default=None, sa_column=text("balance_transaction_id", null=True, unique=True)
    )
    amount: Decimal = Field(sa_column=money("amount"))
    fee: Decimal | None = Field(default=None, sa_column=money("fee", null=True))
    net: Decimal | None = Field(default=None, sa_column=money("net", null=True))
    currency: str = Field(sa_column=text("currency"))
    #: When the money moved, by the provider's clock.
    at: datetime = Field(sa_column=moment("at"))
    #: ``stripe_api`` or ``statement``.
    source: str = Field(sa_column=text("source"))
    recorded_at: datetime = Field(sa_column=moment("recorded_at"))
