"""Define our tables of work: inbox, outbox, reconciliation, seals.

Partial indexes are in :mod:`procomp_pay.storage.models.schema`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field

from procomp_pay.domain.destinations import Destination
from procomp_pay.storage.models.columns import Row, check_word, document, key, moment, text, word
from procomp_pay.storage.models.states import DeliveryState, DiscrepancyState, EventState, OutboxState


def _attempts() -> Column[Any]:
    return Column("attempts", Integer, nullable=False, server_default=sql("0"))


class WebhookEvent(Row, table=True):
    """The inbox: an event as a provider sent it, stored before it is processed."""

    __tablename__ = "pay_webhook_event"
    __table_args__ = (
        check_word("state", EventState),
        UniqueConstraint("provider", "event_id"),
        Index(None, "received_at", "id"),
    )

    id: str = Field(sa_column=key())
    provider: str = Field(sa_column=text("provider"))
    event_id: str = Field(sa_column=text("event_id"))
    type: str = Field(sa_column=text("type"))
    payload_enc: str = Field(sa_column=text("payload_enc"))
    state: EventState = Field(default=EventState.PENDING, sa_column=word("state", EventState))
    attempts: int = Field(default=0, sa_column=_attempts())
    next_attempt_at: datetime | None = Field(default=None, sa_column=moment("next_attempt_at", null=True))
    leased_until: datetime | None = Field(default=None, sa_column=moment("leased_until", null=True))
    last_error: str | None = Field(default=None, sa_column=text("last_error", null=True))
    payment_id: str | None = Field(default=None, sa_column=text("payment_id", null=True))
    occurred_at: datetime = Field(sa_column=moment("occurred_at"))
    received_at: datetime = Field(sa_column=moment("received_at"))
    handled_at: datetime | None = Field(default=None, sa_column=moment("handled_at", null=True))


class EventCursor(Row, table=True):
    """A provider's list of events has been read up to this time, by its own clock: the inbox has all of
    it."""

    __tablename__ = "pay_feed"

    name: str = Field(sa_column=key("name"))
    read_until: datetime | None = Field(default=None, sa_column=moment("read_until", null=True))
    next_read_at: datetime = Field(sa_column=moment("next_read_at"))


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
    attempts: int = Field(default=0, sa_column=_attempts())
    next_attempt_at: datetime = Field(sa_column=moment("next_attempt_at"))
    last_error: str | None = Field(default=None, sa_column=text("last_error", null=True))
    created_at: datetime = Field(sa_column=moment("created_at"))
    finished_at: datetime | None = Field(default=None, sa_column=moment("finished_at", null=True))


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
