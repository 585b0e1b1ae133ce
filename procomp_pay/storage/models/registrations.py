"""The module's tables about registrations, beyond the platform's columns."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Boolean, CheckConstraint, Column, Date, ForeignKey, Integer, false
from sqlmodel import Field

from procomp_pay.domain.fees import FeeKind
from procomp_pay.domain.money import Currency
from procomp_pay.storage.models.columns import Row, amount, check_word, key, moment, text, word


class ParticipantDetail(Row, table=True):
    """What the roster or the desk knows about a participant; no row if nothing. It goes with the
    registration."""

    __tablename__ = "pay_participant_detail"
    __table_args__ = (CheckConstraint("birth_year BETWEEN 1900 AND 2100", name="birth_year"),)

    participant_id: str = Field(
        sa_column=key("participant_id", ForeignKey("Participant.id", ondelete="CASCADE"))
    )
    club: str | None = Field(default=None, sa_column=text("club", null=True))
    coach: str | None = Field(default=None, sa_column=text("coach", null=True))
    phone_enc: str | None = Field(default=None, sa_column=text("phone_enc", null=True))
    birth_year: int | None = Field(default=None, sa_column=Column("birth_year", Integer))
    #: They asked for no letters that remind of the fee.
    no_reminders: bool = Field(
        default=False, sa_column=Column("no_reminders", Boolean, nullable=False, server_default=false())
    )
    updated_at: datetime = Field(sa_column=moment("updated_at"))


class ParticipantSearch(Row, table=True):
    """The key by which a participant's name is searched, and the name of which it was made.

    The platform adds, renames and deletes participants without it: a row counts only while the name is the
    participant's. There is no foreign key, whose check would lock the platform's row.
    """

    __tablename__ = "pay_participant_search"

    participant_id: str = Field(sa_column=key("participant_id"))
    full_name: str = Field(sa_column=text("full_name"))
    key_version: int = Field(sa_column=Column("key_version", Integer, nullable=False))
    search_key: str = Field(sa_column=text("search_key"))


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


class ArchivedTournament(Row, table=True):
    """A tournament that is over: it is left out of lists and searches, and no payment is started for it."""

    __tablename__ = "pay_archived_tournament"

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="CASCADE"))
    )
    archived_by: str = Field(sa_column=text("archived_by"))
    archived_at: datetime = Field(sa_column=moment("archived_at"))
