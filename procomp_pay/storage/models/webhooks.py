"""The tables of the inbox: events, and how far they were read."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from procomp_pay.storage.models.columns import Row, attempts, check_word, key, moment, text, word
from procomp_pay.storage.models.states import EventState


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
    attempts: int = Field(default=0, sa_column=attempts())
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
