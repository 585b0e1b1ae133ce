"""The table of reconciliations."""

from datetime import datetime
from typing import Any

from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, document, key, moment, text


class ReconciliationRun(Row, table=True):
    """One comparison of our payments with a provider's."""

    __tablename__ = "pay_reconciliation_run"

    id: str = Field(sa_column=key())
    provider: str = Field(sa_column=text("provider"))
    window_from: datetime | None = Field(default=None, sa_column=moment("window_from", null=True))
    window_until: datetime | None = Field(default=None, sa_column=moment("window_until", null=True))
    source: str | None = Field(default=None, sa_column=text("source", null=True))
    state: str = Field(sa_column=text("state"))
    started_at: datetime = Field(sa_column=moment("started_at"))
    finished_at: datetime | None = Field(default=None, sa_column=moment("finished_at", null=True))
    started_by: str = Field(sa_column=text("started_by"))
    counts: Any = Field(sa_column=document("counts"))
