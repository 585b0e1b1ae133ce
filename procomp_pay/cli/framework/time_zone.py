"""The time zone of days that a command names or shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def time_zone(name: str | None = None) -> ZoneInfo:
    """Return a time zone; without a name the configured one.

    :raises Refused: there is no such zone.
    """
    from zoneinfo import ZoneInfo

    key = name if name is not None else load_settings().report_timezone
    try:
        return ZoneInfo(key)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise Refused(
            N_("%(key)s is not a time zone", key=repr(console.clean(key)[:64])),
            next_step=N_("write it as Asia/Almaty"),
        ) from None
