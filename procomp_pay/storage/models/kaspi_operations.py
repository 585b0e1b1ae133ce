"""The table of numbers from Kaspi receipts."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, amount, key, moment, payment_key, text


class KaspiOperation(Row, table=True):
    """A number from a Kaspi receipt. It is the primary key, so that one number can settle only one
    payment."""

    __tablename__ = "pay_kaspi_operation"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"), Index(None, "payment_id"))

    operation_number: str = Field(sa_column=key("operation_number"))
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    #: In tenge.
    amount: Decimal = Field(sa_column=amount("amount"))
    paid_at: datetime | None = Field(default=None, sa_column=moment("paid_at", null=True))
    source: str = Field(sa_column=text("source"))
    recorded_by: str = Field(sa_column=text("recorded_by"))
    created_at: datetime = Field(sa_column=moment("created_at"))
