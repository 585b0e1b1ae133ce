"""The tables of the outbox: messages and their deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field

from procomp_pay.domain.destinations import Destination
from procomp_pay.storage.models.columns import Row, attempts, check_word, document, key, moment, text, word
from procomp_pay.storage.models.states import DeliveryState, OutboxState


class OutboxMessage(Row, table=True):
    """A message to deliver. Its writer does not know the destinations; routing creates its deliveries."""

    __tablename__ = "pay_outbox"
    __table_args__ = (check_word("state", OutboxState), Index(None, "created_at", "id"))

    id: str = Field(sa_column=key())
    topic: str = Field(sa_column=text("topic"))
    payment_id: str | None = Field(default=None, sa_column=text("payment_id", null=True))
    dedup_key: str | None = Field(default=None, sa_column=text("dedup_key", null=True, unique=True))
    payload: Any = Field(sa_column=document("payload"))
    state: OutboxState = Field(default=OutboxState.WAITING, sa_column=word("state", OutboxState))
    next_attempt_at: datetime = Field(sa_column=moment("next_attempt_at"))
    created_at: datetime = Field(sa_column=moment("created_at"))
    #: The subject of an alert; set when it is routed.
    subject: str | None = Field(default=None, sa_column=text("subject", null=True))
    #: Destinations that it was not sent to, with the reason.
    skipped: str | None = Field(default=None, sa_column=text("skipped", null=True))
    routed_at: datetime | None = Field(default=None, sa_column=moment("routed_at", null=True))


class Delivery(Row, table=True):
    """One message on its way to one destination; its id is the same at every attempt.

    There is a row for each destination, so that a failed one is retried alone, and one that succeeded never
    gets the message again because another one failed.
    """

    __tablename__ = "pay_delivery"
    __table_args__ = (
        check_word("destination", Destination),
        check_word("state", DeliveryState),
        UniqueConstraint("message_id", "destination", "recipient"),
    )

    id: str = Field(sa_column=key())
    message_id: str = Field(sa_column=text("message_id", ForeignKey("pay_outbox.id", ondelete="CASCADE")))
    destination: Destination = Field(sa_column=word("destination", Destination))
    #: One of several addresses of a destination; empty if it has only one.
    recipient: str = Field(default="", sa_column=text("recipient", server_default=sql("''")))
    state: DeliveryState = Field(default=DeliveryState.WAITING, sa_column=word("state", DeliveryState))
    #: Counted when it is claimed, so that a delivery that kills its process is also given up in the end.
    attempts: int = Field(default=0, sa_column=attempts())
    next_attempt_at: datetime = Field(sa_column=moment("next_attempt_at"))
    last_error: str | None = Field(default=None, sa_column=text("last_error", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    finished_at: datetime | None = Field(default=None, sa_column=moment("finished_at", null=True))
