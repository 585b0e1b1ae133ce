"""Views of the state for the control pages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .book import Book
from .dates import utc_text
from .life import shown_status
from .model import Payment


def payment_view(payment: Payment, origin: str) -> dict[str, Any]:
    """Return a payment as the Kaspi Pay app shows it, with the operation number and the receipt's number.

    Amounts are tenge with two decimals, times ISO 8601 in UTC.
    """
    operation = payment.operation_number
    return {
        "QrPaymentId": payment.payment_id,
        "Kind": payment.kind,
        "Status": payment.status,
        "ReportedStatus": shown_status(payment),
        "Amount": payment.amount,
        "AvailableReturnAmount": payment.available,
        "OperationNumber": operation,
        "ReceiptNumber": f"QR{operation}" if operation else None,
        "ProductType": payment.product_type,
        "Buyer": payment.buyer,
        "ExternalId": payment.external_id,
        "Comment": payment.comment,
        "OrganizationBin": payment.organization_bin,
        "TradePointId": payment.trade_point_id,
        "DeviceToken": payment.device_token,
        "PhonePage": f"{origin}/pay/{payment.token}",
        "CreatedAt": utc_text(payment.created_at),
        "OpenUntil": utc_text(payment.open_until),
        "ConfirmUntil": utc_text(payment.confirm_until),
        "ProcessedAt": utc_text(payment.processed_at),
        "Refunds": [
            {
                "ReturnOperationId": refund.operation_id,
                "Amount": refund.amount,
                "At": utc_text(refund.made_at),
                "By": refund.made_by,
            }
            for refund in payment.refunds
        ],
    }


def overview(book: Book) -> dict[str, Any]:
    """Return all values that a configuration needs, and the present switches."""
    return {
        "api_key": book.api_key,
        "organization_bin": book.organization_bin,
        "trade_point_id": book.ready_trade_point,
        "device_token": book.ready_device,
        "timers": asdict(book.timers),
        "settings": asdict(book.settings),
        "forced": [asdict(item) for item in book.forced],
        "payments": len(book.payments),
    }
