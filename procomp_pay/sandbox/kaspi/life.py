"""The life of a payment: which step is allowed when, and what the clock does by itself.

Nothing runs in the background: a deadline is applied when somebody next looks.
"""

from __future__ import annotations

from .codes import StepRefusedError
from .model import (
    CREATED,
    ERROR,
    IDENTITY_OBTAINED,
    LINK,
    PROCESSED,
    REMOTE_CREATED,
    REMOTE_EXPIRED,
    REMOTE_REJECTED,
    WAIT,
    Payment,
    ReturnQr,
    Settings,
)


def refresh(record: Payment | ReturnQr, now: float, settings: Settings) -> bool:
    """Apply what time has done; True when the state changed.

    An unscanned QR past its life keeps its status unless the switch says Error (the document is silent). An
    unconfirmed one becomes Error: Kaspi cancels it and the buyer has the money back.
    """
    before = record.status
    if record.status == CREATED and now >= record.open_until:
        record.status = settings.expired_status
    elif record.status == REMOTE_CREATED and now >= record.open_until:
        record.status = REMOTE_EXPIRED
    elif isinstance(record, Payment) and _unconfirmed(record, now):
        record.status = ERROR
    return record.status != before


def _unconfirmed(payment: Payment, now: float) -> bool:
    return payment.status == WAIT and payment.confirm_until is not None and now >= payment.confirm_until


def shown_status(payment: Payment, settings: Settings) -> str:
    """Return the status that `/payment/status` reports."""
    if payment.shown_as is not None:
        return payment.shown_as
    if payment.kind == LINK and payment.status == WAIT:
        return settings.link_open_status
    return payment.status


def _move(payment: Payment, status: str) -> None:
    payment.status = status
    payment.shown_as = None


def scan(payment: Payment, now: float, confirmation_wait: int, buyer: str) -> None:
    """Scan the QR or open the link as the buyer: Wait, with `confirmation_wait` seconds to confirm.

    Raises StepRefusedError for a dead token, a second scan and a remote invoice (which has no QR).
    """
    if payment.status != CREATED:
        raise StepRefusedError(f"cannot be scanned in status {payment.status}")
    if now >= payment.open_until:
        raise StepRefusedError("the QR or link has expired")
    _move(payment, WAIT)
    payment.buyer = buyer
    payment.confirm_until = now + confirmation_wait


def confirm(payment: Payment, now: float, settings: Settings, spare_id: int, product_type: str) -> None:
    """Confirm as the buyer: Processed. Raises StepRefusedError unless scanned, or an open invoice."""
    if payment.status not in (WAIT, REMOTE_CREATED):
        raise StepRefusedError(f"cannot be confirmed in status {payment.status}")
    process(payment, now, settings, spare_id, product_type)


def process(payment: Payment, now: float, settings: Settings, spare_id: int, product_type: str) -> None:
    """Take the money, whatever the clock says; the control page uses this for a payment that comes late.

    `spare_id` becomes the clerk's operation number when the switch says that it is not the payment's own id.
    Raises StepRefusedError when it is paid already.
    """
    if payment.status == PROCESSED:
        raise StepRefusedError("is paid already")
    _move(payment, PROCESSED)
    payment.processed_at = now
    payment.product_type = product_type
    own = settings.operation_numbers == "own"
    payment.operation_number = str(spare_id if own else payment.payment_id)


def fail(payment: Payment, *, only_from: tuple[str, ...]) -> None:
    """Cancel as the buyer, or fail as Kaspi: Error, or RemotePaymentRejected for an invoice.

    Raises StepRefusedError when the payment is in none of `only_from`.
    """
    if payment.status not in only_from:
        raise StepRefusedError(f"cannot fail in status {payment.status}")
    _move(payment, REMOTE_REJECTED if payment.status == REMOTE_CREATED else ERROR)


def identify(item: ReturnQr, now: float, buyer: str) -> None:
    """Scan a return QR as the buyer. Raises StepRefusedError if it has expired or was used."""
    if item.status != CREATED or now >= item.open_until:
        raise StepRefusedError("the return QR has expired or was used")
    item.status = IDENTITY_OBTAINED
    item.buyer = buyer
