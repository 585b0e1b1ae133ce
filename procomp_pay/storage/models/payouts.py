"""The module's tables about money between the providers' balances and the bank."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Column, Date, ForeignKey, Index, UniqueConstraint
from sqlmodel import Field

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, check_word, key, moment, payment_key, text, word
from procomp_pay.storage.models.columns import amount as money


class BankStatementLine(Row, table=True):
    """A line of the bank's statement that may be about a payout: a credit, or one that names a provider."""

    __tablename__ = "pay_bank_line"
    __table_args__ = (Index(None, "booked_on"),)

    id: str = Field(sa_column=key())
    account: str = Field(sa_column=text("account"))
    booked_on: date = Field(sa_column=Column("booked_on", Date, nullable=False))
    #: Negative for money that left the account.
    amount: Decimal = Field(sa_column=money("amount"))
    currency: str = Field(sa_column=text("currency"))
    #: Number, other party and purpose.
    purpose: str = Field(sa_column=text("purpose"))
    #: The file's format, and a hash of the line and of its number among equal lines of a file: the same file
    #: changes nothing.
    fingerprint: str = Field(sa_column=text("fingerprint", unique=True))
    recorded_at: datetime = Field(sa_column=moment("recorded_at"))


class Payout(Row, table=True):
    """Money that a provider pays to the bank: Stripe's payout, or a day of Kaspi's report.

    ``gross`` less ``fee`` is the sum of its entries; ``amount`` is what the provider says it pays.
    """

    __tablename__ = "pay_payout"
    __table_args__ = (UniqueConstraint("provider", "ref", "currency"), Index(None, "expected_on"))

    id: str = Field(sa_column=key())
    provider: str = Field(sa_column=text("provider"))
    #: ``po_…``, or a day: ``2026-05-01``.
    ref: str = Field(sa_column=text("ref"))
    currency: str = Field(sa_column=text("currency"))
    amount: Decimal = Field(sa_column=money("amount"))
    #: The provider's word.
    status: str = Field(sa_column=text("status"))
    expected_on: date = Field(sa_column=Column("expected_on", Date, nullable=False))
    #: The number by which banks trace it, if the provider has one.
    trace: str | None = Field(default=None, sa_column=text("trace", null=True))
    failure: str | None = Field(default=None, sa_column=text("failure", null=True))
    bank_line_id: str | None = Field(
        default=None, sa_column=text("bank_line_id", ForeignKey("pay_bank_line.id"), null=True, index=True)
    )
    matched_how: str | None = Field(default=None, sa_column=text("matched_how", null=True))
    matched_by: str | None = Field(default=None, sa_column=text("matched_by", null=True))
    matched_at: datetime | None = Field(default=None, sa_column=moment("matched_at", null=True))
    recorded_at: datetime = Field(sa_column=moment("recorded_at"))


class BalanceEntry(Row, table=True):
    """A movement on a provider's balance: part of a payout, or a cost of the account that is in none yet."""

    __tablename__ = "pay_balance_entry"
    __table_args__ = (
        check_word("kind", LineKind),
        UniqueConstraint("provider", "kind", "ref"),
        Index(None, "payout_id"),
        Index(None, "payment_id"),
        Index(None, "at"),
    )

    id: str = Field(sa_column=key())
    provider: str = Field(sa_column=text("provider"))
    kind: LineKind = Field(sa_column=word("kind", LineKind))
    #: ``txn_…``, or Kaspi's operation number.
    ref: str = Field(sa_column=text("ref"))
    payout_id: str | None = Field(
        default=None, sa_column=text("payout_id", ForeignKey("pay_payout.id"), null=True)
    )
    payment_id: str | None = Field(default=None, sa_column=text("payment_id", payment_key(), null=True))
    #: The provider's word for it.
    category: str = Field(sa_column=text("category"))
    description: str = Field(sa_column=text("description"))
    #: Signed as the balance moves.
    amount: Decimal = Field(sa_column=money("amount"))
    fee: Decimal = Field(sa_column=money("fee"))
    net: Decimal = Field(sa_column=money("net"))
    currency: str = Field(sa_column=text("currency"))
    at: datetime = Field(sa_column=moment("at"))
    recorded_at: datetime = Field(sa_column=moment("recorded_at"))
