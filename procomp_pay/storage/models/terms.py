"""The tables of fees by day and of refund policies."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Column, Date, ForeignKey, Integer
from sqlmodel import Field

from procomp_pay.domain.entry_fees import FeeKind
from procomp_pay.domain.money import Currency
from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, amount, check_word, key, moment, text, word


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


class FeePeriodRow(Row, table=True):
    """A fee that replaces the tournament's on some days of a time zone; an open end is NULL."""

    __tablename__ = "pay_fee_period"
    __table_args__ = (
        check_word("kind", FeeKind),
        check_word("currency", Currency),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("until_day >= since_day", name="days"),
    )

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="CASCADE"))
    )
    currency: Currency = Field(sa_column=word("currency", Currency, primary_key=True))
    kind: FeeKind = Field(sa_column=word("kind", FeeKind, primary_key=True))
    amount: Decimal = Field(sa_column=amount("amount"))
    since_day: date | None = Field(default=None, sa_column=Column("since_day", Date))
    until_day: date | None = Field(default=None, sa_column=Column("until_day", Date))
    timezone: str = Field(sa_column=text("timezone"))
    set_by: str = Field(sa_column=text("set_by"))
    set_at: datetime = Field(sa_column=moment("set_at"))


class RefundStepRow(Row, table=True):
    """A step of a tournament's refund policy: how much goes back until a day, by date or before the start."""

    __tablename__ = "pay_refund_step"
    __table_args__ = (
        check_word("currency", Currency),
        CheckConstraint("percent BETWEEN 0 AND 100", name="percent"),
        CheckConstraint("kept > 0", name="kept"),
        CheckConstraint("(until_day IS NULL) <> (days_before IS NULL)", name="day"),
    )

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="CASCADE"))
    )
    number: int = Field(sa_column=Column("number", Integer, primary_key=True, autoincrement=False))
    percent: int = Field(sa_column=Column("percent", Integer, nullable=False))
    kept: Decimal | None = Field(default=None, sa_column=amount("kept", null=True))
    currency: Currency | None = Field(default=None, sa_column=word("currency", Currency, null=True))
    until_day: date | None = Field(default=None, sa_column=Column("until_day", Date))
    days_before: int | None = Field(default=None, sa_column=Column("days_before", Integer))
    timezone: str = Field(sa_column=text("timezone"))
    set_by: str = Field(sa_column=text("set_by"))
    set_at: datetime = Field(sa_column=moment("set_at"))
