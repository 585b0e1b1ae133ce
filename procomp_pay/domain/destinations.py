"""The destinations of messages, in a module of their own: the command line does not need the rules."""

from __future__ import annotations

from enum import StrEnum


class Destination(StrEnum):
    """A destination of outbox messages."""

    PARTICIPANT_MAIL = "participant_mail"
    PLATFORM_WEBHOOK = "platform_webhook"
    ALERT_WEBHOOK = "alert_webhook"
    ALERT_MAIL = "alert_mail"

    @property
    def is_alert(self) -> bool:
        return self in (Destination.ALERT_WEBHOOK, Destination.ALERT_MAIL)
