"""The table of callers' idempotency keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Integer
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, document, key, moment, text


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
