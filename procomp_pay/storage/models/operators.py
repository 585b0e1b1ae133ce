"""The tables of operators: accounts, logins, and approvals by a second person."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer
from sqlalchemy import text as sql
from sqlmodel import Field

from procomp_pay.domain.operators import Role, SecretKind
from procomp_pay.storage.models.columns import Row, check_word, document, key, moment, text, word


class OperatorAccount(Row, table=True):
    """An operator. The name is never changed: the audit trail has it."""

    __tablename__ = "pay_operator"
    __table_args__ = (check_word("role", Role), check_word("secret_kind", SecretKind))

    id: str = Field(sa_column=key())
    name: str = Field(sa_column=text("name"))
    folded_name: str = Field(sa_column=text("folded_name", unique=True))
    role: Role = Field(sa_column=word("role", Role))
    #: A list of ids; ``NULL`` for all tournaments.
    tournaments: Any = Field(default=None, sa_column=document("tournaments", null=True))
    secret_kind: SecretKind = Field(sa_column=word("secret_kind", SecretKind))
    #: Argon2 of the PIN or the token.
    secret_hash: str = Field(sa_column=text("secret_hash"))
    #: Counted before the PIN is compared, so that several processes have ten tries together.
    failed_attempts: int = Field(
        default=0, sa_column=Column("failed_attempts", Integer, nullable=False, server_default=sql("0"))
    )
    locked_until: datetime | None = Field(default=None, sa_column=moment("locked_until", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    created_by: str = Field(sa_column=text("created_by"))
    disabled_at: datetime | None = Field(default=None, sa_column=moment("disabled_at", null=True))


class OperatorSession(Row, table=True):
    """A login. Its token is in a file of the operator's; here is only its SHA-256."""

    __tablename__ = "pay_operator_session"
    __table_args__ = (Index(None, "operator_id"),)

    token_hash: str = Field(sa_column=key("token_hash"))
    operator_id: str = Field(sa_column=text("operator_id", ForeignKey("pay_operator.id", ondelete="CASCADE")))
    #: The user of the operating system who logged in: a copied file is of no use to another one.
    os_user: str = Field(sa_column=text("os_user"))
    created_at: datetime = Field(sa_column=moment("created_at"))
    expires_at: datetime = Field(sa_column=moment("expires_at"))


class Approval(Row, table=True):
    """What one operator asked for and another one has to approve."""

    __tablename__ = "pay_approval"
    __table_args__ = (Index(None, "subject_hash"), Index(None, "expires_at"))

    id: str = Field(sa_column=key())
    #: Of what is done, without its sums; see ``domain.operators.ApprovalRequest``.
    subject_hash: str = Field(sa_column=text("subject_hash"))
    content: Any = Field(sa_column=document("content"))
    #: SHA-256 of the content.
    fingerprint: str = Field(sa_column=text("fingerprint"))
    requested_by: str = Field(sa_column=text("requested_by", ForeignKey("pay_operator.id")))
    requested_at: datetime = Field(sa_column=moment("requested_at"))
    expires_at: datetime = Field(sa_column=moment("expires_at"))
    approved_by: str | None = Field(
        default=None, sa_column=text("approved_by", ForeignKey("pay_operator.id"), null=True)
    )
    #: The fingerprint that was approved: a later change shows.
    approved_fingerprint: str | None = Field(default=None, sa_column=text("approved_fingerprint", null=True))
    approved_at: datetime | None = Field(default=None, sa_column=moment("approved_at", null=True))
