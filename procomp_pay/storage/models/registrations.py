"""The module's tables about registrations, beyond the platform's columns."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Integer, false
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, key, moment, text


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


class ArchivedTournament(Row, table=True):
    """A tournament that is over: it is left out of lists and searches, and no payment is started for it."""

    __tablename__ = "pay_archived_tournament"

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="CASCADE"))
    )
    archived_by: str = Field(sa_column=text("archived_by"))
    archived_at: datetime = Field(sa_column=moment("archived_at"))
