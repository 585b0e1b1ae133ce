"""The tables of reconciliations and of the discrepancies that they find."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, check_word, document, key, moment, text, word
from procomp_pay.storage.models.states import DiscrepancyState


class ReconciliationRun(Row, table=True):
    """One comparison of our payments with a provider's; or one reading of a file of the ``bank``, whose
    window is its days, as midnights in UTC."""

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


class Discrepancy(Row, table=True):
    """A difference between the books that stays open until it is resolved."""

    __tablename__ = "pay_discrepancy"
    __table_args__ = (
        check_word("state", DiscrepancyState),
        Index(None, "payment_id"),
        Index(None, "opened_at", "id"),
    )

    id: str = Field(sa_column=key())
    fingerprint: str = Field(sa_column=text("fingerprint", unique=True))
    kind: str = Field(sa_column=text("kind"))
    #: ``stripe`` or ``kaspi``; ``NULL`` in old rows, whose payment has the provider.
    provider: str | None = Field(default=None, sa_column=text("provider", null=True))
    payment_id: str | None = Field(default=None, sa_column=text("payment_id", null=True))
    run_id: str | None = Field(
        default=None, sa_column=text("run_id", ForeignKey("pay_reconciliation_run.id"), null=True)
    )
    detail: Any = Field(sa_column=document("detail"))
    state: DiscrepancyState = Field(default=DiscrepancyState.OPEN, sa_column=word("state", DiscrepancyState))
    opened_at: datetime = Field(sa_column=moment("opened_at"))
    last_seen_at: datetime = Field(sa_column=moment("last_seen_at"))
    resolution: str | None = Field(default=None, sa_column=text("resolution", null=True))
    note: str | None = Field(default=None, sa_column=text("note", null=True))
    resolved_by: str | None = Field(default=None, sa_column=text("resolved_by", null=True))
    resolved_at: datetime | None = Field(default=None, sa_column=moment("resolved_at", null=True))
