"""The buyer's steps on a payment or a return QR, by the `/test/payment` calls and the phone page."""

from __future__ import annotations

from .book import Book
from .codes import StepRefusedError
from .life import confirm, fail, identify, scan
from .model import CREATED, DEFAULT_BUYER, ERROR, REMOTE_CREATED, WAIT, Payment, ReturnQr


def take(
    book: Book,
    record: Payment | ReturnQr,
    action: str,
    *,
    buyer: str = DEFAULT_BUYER,
    product_type: str | None = None,
) -> None:
    """Do scan, confirm, cancel, pay, scanerror or confirmerror, and save.

    `pay` scans (unless that was done) and confirms.

    Raises StepRefusedError when the state does not allow it; nothing has changed then.
    """
    if isinstance(record, ReturnQr):
        _take_return(book, record, action, buyer)
    else:
        _take_payment(book, record, action, buyer, product_type or record.product_type)
    book.commit()


def _take_payment(book: Book, payment: Payment, action: str, buyer: str, product_type: str) -> None:
    now = book.clock()
    if action == "scan" or (action == "pay" and payment.status == CREATED):
        scan(payment, now, book.timers.confirmation_wait, buyer)
    match action:
        case "scan":
            pass
        case "confirm" | "pay":
            confirm(payment, now, book.settings, book.next_id(), product_type)
        case "scanerror":
            _refuse_dead(payment, now)
            fail(payment, only_from=(CREATED,))
        case "confirmerror":
            fail(payment, only_from=(WAIT, REMOTE_CREATED))
        case "cancel":
            _refuse_dead(payment, now)
            fail(payment, only_from=(CREATED, WAIT, REMOTE_CREATED))
        case _:
            raise StepRefusedError(f"has no action {action!r}")


def _refuse_dead(payment: Payment, now: float) -> None:
    if payment.status == CREATED and now >= payment.open_until:
        raise StepRefusedError("the QR or link has expired")


def _take_return(book: Book, item: ReturnQr, action: str, buyer: str) -> None:
    match action:
        case "scan" | "pay":
            identify(item, book.clock(), buyer)
        case "scanerror" | "cancel":
            if item.status != CREATED:
                raise StepRefusedError("the return QR was used")
            item.status = ERROR
        case _:
            raise StepRefusedError(f"has no action {action!r}")
