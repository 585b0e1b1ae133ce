"""Times, states and moves in words for the desk. Pure: what they say is tested without a terminal."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from procomp_pay.cli.payments import refund_wording
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import Move, PaymentView

#: Where the tournaments are: times in the terminal are read off the clock on the hall's wall.
ALMATY = ZoneInfo("Asia/Almaty")

METHODS = {
    PaymentMethod.KASPI_QR: "Kaspi QR",
    PaymentMethod.APPLE_PAY: "Apple Pay",
    PaymentMethod.GOOGLE_PAY: "Google Pay",
}
COLOURS = {
    PaymentStatus.PENDING: "yellow",
    PaymentStatus.PROCESSING: "cyan",
    PaymentStatus.COMPLETED: "green",
    PaymentStatus.FAILED: "red",
    PaymentStatus.EXPIRED: "red",
    PaymentStatus.CANCELLED: "yellow",
    PaymentStatus.REFUNDED: "magenta",
}


def clock_time(at: datetime, now: datetime | None = None) -> str:
    """``14:05`` today, ``Sat 2 May 14:05`` on another day, with the year in another year."""
    local, today = at.astimezone(ALMATY), (now or datetime.now(UTC)).astimezone(ALMATY)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local:%a} {local.day} {local:%b}{year} {local:%H:%M}"


def day_of(at: datetime) -> str:
    """``Sat 2 May``."""
    local = at.astimezone(ALMATY)
    return f"{local:%a} {local.day} {local:%b}"


def exact_time(at: datetime) -> str:
    """``14:05:07``."""
    return f"{at.astimezone(ALMATY):%H:%M:%S}"


def day(text: str | None, name: str) -> date | None:
    """A day as ``2026-05-01``.

    :raises Refused: it is none.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(
            f"{name} {text[:24]!r} is not a day", next_step=f"write it as {name} 2026-05-01"
        ) from None


def day_begins(of: date, *, plus_days: int = 0) -> datetime:
    """The first instant of a day in Almaty.

    :raises Refused: a day at the end of the calendar.
    """
    try:
        return datetime.combine(of + timedelta(days=plus_days), time.min, ALMATY).astimezone(UTC)
    except OverflowError:
        raise Refused(f"{of} is not a day that a payment can have") from None


def left(until: datetime, now: datetime) -> str:
    """``2:59``; ``0:00`` when it is over."""
    seconds = max(0, int((until - now).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def how_to_pay(view: PaymentView) -> str:
    """What the customer does now."""
    return {
        Channel.KASPI_QR: "Scan with the Kaspi app",
        Channel.KASPI_LINK: "Open the link on the phone with the Kaspi app",
        Channel.KASPI_BILL: "Paid in the Kaspi app by its code",
        Channel.KASPI_REMOTE: "Pay the invoice in the Kaspi app on the phone",
        Channel.STRIPE_CHECKOUT: f"Scan with the camera, pay with {METHODS[view.method]}",
        Channel.STRIPE_INTENT: "The app pays with the client secret",
    }[view.channel]


_WAITING = {
    Channel.KASPI_QR: "waiting for the customer to scan",
    Channel.KASPI_LINK: "waiting for the customer to open the link",
    Channel.KASPI_BILL: "money of another amount came by Kaspi's bill: a person decides",
    Channel.KASPI_REMOTE: "waiting for the customer to pay the invoice",
    Channel.STRIPE_CHECKOUT: "waiting for the customer to pay",
    Channel.STRIPE_INTENT: "waiting for the app to pay",
}


def state(view: PaymentView) -> str:
    """How a payment stands, in one sentence that needs no colour."""
    scanned = "scanned, waiting for confirmation" if view.channel.is_kaspi else "the bank is working on it"
    return {
        PaymentStatus.PENDING: _WAITING[view.channel],
        PaymentStatus.PROCESSING: scanned,
        PaymentStatus.COMPLETED: _paid(view),
        PaymentStatus.FAILED: _failed(view),
        PaymentStatus.REFUNDED: "paid back in full",
        PaymentStatus.EXPIRED: f"not paid, time is over{_still_watched(view)}",
        PaymentStatus.CANCELLED: f"not paid, cancelled{_still_watched(view)}",
    }[view.status]


def _failed(view: PaymentView) -> str:
    because = f": {view.failure_reason}" if view.failure_reason else ""
    return f"not paid{because}" + ("; the customer can try again" if view.provider_open else "")


def _paid(view: PaymentView) -> str:
    notes = []
    if view.is_late:
        notes.append("LATE: it came after the end, a person decides what becomes of it")
    if view.is_duplicate:
        notes.append("PAID TWICE: another payment took the place, this one goes back")
    return "; ".join(["paid", *notes, *refund_wording.notes(view)])


def _still_watched(view: PaymentView) -> str:
    if not (view.provider_open and view.channel.is_kaspi):
        return ""
    return "; still watched, in case money comes"


_MOVES = {
    "opened:noted": "opened at {provider}",
    "retriable:moved": "the customer may try again",
    "succeeded:moved": "PAID",
    "succeeded:mismatch": "another amount than the fee came: kept for a person",
    "failed:moved": "failed",
    "failed:noted": "failed again",
    "cancelled:moved": "cancelled",
    "expired:moved": "its time was over",
    "unplaced:noted": "the participant's place was missing, and was given",
    "cancel_requested": "asked to be cancelled",
    "started": "started",
    "number:noted": "operation number added",
    "number:confirmed": "operation number confirmed",
    "verify_refused": "verification refused",
    "amount_accepted": "another amount was accepted: the books have what came",
}
_SOURCES = {
    "stripe_webhook": "Stripe told us",
    "stripe_api": "Stripe, when asked",
    "kaspi_status": "Kaspi, when asked",
    "kaspi_api": "Kaspi, when asked",
    "kaspi_callback": "the gateway told us",
    "kaspi_bill": "Kaspi told us",
    "clock": "by the clock",
    "reconcile": "found by reconcile",
}


def deed(entry: Move, view: PaymentView) -> str:
    """What an entry of the audit trail did; what is unknown is shown as it stands."""
    kaspi = view.channel.is_kaspi
    if (back := refund_wording.move(entry, view)) is not None:
        said = back
    elif entry.action == "processing:moved":
        said = "scanned by the customer" if kaspi else "with the bank"
    elif entry.action.endswith(":noted") and entry.action not in _MOVES:
        said = f"closed at {'Kaspi' if kaspi else 'Stripe'}"
    else:
        said = _MOVES.get(entry.action, entry.action.replace("_", " ").replace(":", ", "))
        said = said.format(provider="Kaspi" if kaspi else "Stripe") if entry.action in _MOVES else said
    return said


def move(entry: Move, view: PaymentView) -> str:
    """One entry of the audit trail as a sentence."""
    said = deed(entry, view)
    who = _SOURCES.get(entry.source, f"by {entry.actor}")
    note = f": {entry.note}" if entry.note else ""
    return f"{said} ({who}){note}"
