"""The table of refunds."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from procomp_pay.domain.money import Currency
from procomp_pay.domain.refunds import RefundState
from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, amount, check_word, key, moment, payment_key, text, word


class Refund(Row, table=True):
    """A refund. A trigger keeps the refunds of a payment within the charged amount.

    ``sent_at`` without ``provider_refund_id``: the answer was lost, and the refund may exist.
    """

    __tablename__ = "pay_refund"
    __table_args__ = (
        check_word("currency", Currency),
        check_word("state", RefundState),
        CheckConstraint("amount > 0", name="amount"),
        Index(None, "payment_id"),
    )

    id: str = Field(sa_column=key())
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    amount: Decimal = Field(sa_column=amount("amount"))
    currency: Currency = Field(sa_column=word("currency", Currency))
    reason: str = Field(sa_column=text("reason"))
    state: RefundState = Field(default=RefundState.PENDING, sa_column=word("state", RefundState))
    provider_refund_id: str | None = Field(
        default=None, sa_column=text("provider_refund_id", null=True, unique=True)
    )
    requested_by: str = Field(sa_column=text("requested_by"))
    failure_reason: str | None = Field(default=None, sa_column=text("failure_reason", null=True))
    sent_at: datetime | None = Field(default=None, sa_column=moment("sent_at", null=True))
    next_look_at: datetime | None = Field(default=None, sa_column=moment("next_look_at", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    updated_at: datetime = Field(sa_column=moment("updated_at"))
