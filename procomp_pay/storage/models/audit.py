"""The tables of the audit trail: entries and seals."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Integer, UniqueConstraint
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, document, key, moment, text


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


class AuditSeal(Row, table=True):
    """A Merkle root over the heads of all audit chains at a time. It reveals a chain whose end was cut
    off."""

    __tablename__ = "pay_audit_seal"

    id: str = Field(sa_column=key())
    #: 1, 2, 3 …: a deleted seal leaves a gap.
    number: int = Field(sa_column=Column("number", Integer, nullable=False, unique=True))
    sealed_at: datetime = Field(sa_column=moment("sealed_at"))
    #: The newest entry that it covers: with it the root can be computed again.
    last_entry_id: int = Field(sa_column=Column("last_entry_id", BigInteger, nullable=False))
    merkle_root: str = Field(sa_column=text("merkle_root"))
    previous_root: str = Field(sa_column=text("previous_root"))
    chain_count: int = Field(sa_column=Column("chain_count", Integer, nullable=False))
    entry_count: int = Field(sa_column=Column("entry_count", BigInteger, nullable=False))
    sealed_by: str = Field(sa_column=text("sealed_by"))
