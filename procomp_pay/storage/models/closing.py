"""Define the table of closings: one row for each day, of all tournaments or of one."""

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, document, key, moment, text


class ClosingDay(Row, table=True):
    """The closing of a day: its steps, the figures as they were signed, and the signatures."""

    __tablename__ = "pay_closing"
    __table_args__ = (UniqueConstraint("tournament_id", "day"),)

    id: str = Field(sa_column=key())
    #: Empty for all tournaments. No foreign key: the record outlives the tournament.
    tournament_id: str = Field(sa_column=text("tournament_id"))
    #: The local day, ``2026-05-02``, and its time zone.
    day: str = Field(sa_column=text("day"))
    zone: str = Field(sa_column=text("zone"))
    #: By name of the step.
    steps: Any = Field(sa_column=document("steps"))
    #: The figures under the newest signature.
    sums: Any = Field(default=None, sa_column=document("sums", null=True))
    signatures: Any = Field(sa_column=document("signatures"))
    begun_by: str = Field(sa_column=text("begun_by"))
    begun_at: datetime = Field(sa_column=moment("begun_at"))
    updated_at: datetime = Field(sa_column=moment("updated_at"))
    closed_at: datetime | None = Field(default=None, sa_column=moment("closed_at", null=True))
