"""Text for verification: times on receipts, short states, Kaspi's answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import formats
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView

_TODAY = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_RUSSIAN = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})[ ,T]+(\d{1,2}):(\d{2})(?::(\d{2}))?")


def paid_at(text: str | None, now: datetime) -> datetime | None:
    """Parse the time on a receipt: ``14:05`` (today), ``02.05.2026 14:05`` or ``2026-05-02 14:05``.

    Times are Almaty's, unless they have an offset. Return UTC.

    :raises Refused: it has none of these forms.
    """
    if text is None:
        return None
    try:
        return _read(" ".join(text.split()), now).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(
            N_("--paid-at %(text)s is not a time", text=repr(text[:24])),
            next_step=N_('write it as on the receipt: "02.05.2026 14:05"'),
        ) from None


def _read(text: str, now: datetime) -> datetime:
    if match := _TODAY.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        return now.astimezone(formats.almaty()).replace(
            hour=hour, minute=minute, second=second, microsecond=0
        )
    if match := _RUSSIAN.fullmatch(text):
        day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=formats.almaty())
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=formats.almaty())


def short_state(view: PaymentView) -> str:
    """Return the state of a payment of the queue, in at most 16 characters of English."""
    if view.status in (PaymentStatus.PENDING, PaymentStatus.PROCESSING) and not view.provider_open:
        return N_("WRONG AMOUNT")
    names: dict[str, str] = {
        PaymentStatus.PENDING: N_("not scanned yet"),
        PaymentStatus.PROCESSING: N_("confirming now"),
        PaymentStatus.EXPIRED: N_("expired"),
        PaymentStatus.CANCELLED: N_("cancelled"),
        PaymentStatus.FAILED: N_("not confirmed"),
    }
    return names.get(view.status, view.status.lower())


def minutes(view: PaymentView, now: datetime) -> int:
    """Return the whole minutes since a payment was started."""
    return max(0, int((now - view.created_at).total_seconds() // 60))


#: Kaspi's answers as text.
KASPI = {
    "paid": N_("Kaspi confirms that it is paid"),
    "confirming": N_("Kaspi: scanned, the customer is confirming now. This screen updates by itself"),
    "not_paid": N_("Kaspi: not paid through this QR so far"),
    "unknown_there": N_("Kaspi does not know this QR"),
    "no_answer": N_("Kaspi does not answer: check in the Kaspi Pay app, then you decide"),
    "cannot_be_asked": N_("Kaspi cannot be asked about it: check in the Kaspi Pay app, then you decide"),
}
