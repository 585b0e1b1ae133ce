"""Where a message can go. By itself, so that the command line can name the words without the rules."""

from __future__ import annotations

from enum import StrEnum


class Destination(StrEnum):
    """Where a message can go."""

    PARTICIPANT_MAIL = "participant_mail"
    PLATFORM_WEBHOOK = "platform_webhook"
    ALERT_WEBHOOK = "alert_webhook"
    ALERT_MAIL = "alert_mail"

    @property
    def is_alert(self) -> bool:
        return self in (Destination.ALERT_WEBHOOK, Destination.ALERT_MAIL)
