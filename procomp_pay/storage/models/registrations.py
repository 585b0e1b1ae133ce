"""The tables of registrations, beyond the platform's columns."""

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Integer, false
from sqlmodel import Field

from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
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


class ArchivedTournament(Row, table=True):
    """A tournament that is over: it is left out of lists and searches, and no payment is started for it."""

    __tablename__ = "pay_archived_tournament"

    tournament_id: str = Field(
        sa_column=key("tournament_id", ForeignKey("Tournament.id", ondelete="CASCADE"))
    )
    archived_by: str = Field(sa_column=text("archived_by"))
    archived_at: datetime = Field(sa_column=moment("archived_at"))
