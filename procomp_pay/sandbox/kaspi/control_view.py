"""Views of the state for the control pages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .book import Book
from .dates import utc_text
from .life import shown_status
from .model import Payment, TradePoint


def payment_view(book: Book, payment: Payment, origin: str) -> dict[str, Any]:
    """Return a payment as the Kaspi Pay app shows it, with the operation number and the receipt's number.

    Amounts are tenge with two decimals, times ISO 8601 in UTC.
    """
    operation = payment.operation_number
    return {
        "QrPaymentId": payment.payment_id,
        "Kind": payment.kind,
        "Status": payment.status,
        "ReportedStatus": shown_status(payment, book.settings),
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


def point_view(point: TradePoint) -> dict[str, Any]:
    """Return a trade point with its switches."""
    return {
        "TradePointId": point.trade_point_id,
        "TradePointName": point.name,
        "OrganizationBin": point.organization_bin,
        "Active": point.active,
        "AcceptsQr": point.accepts_qr,
        "PaymentMethods": list(point.methods),
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
        "trade_points": [point_view(point) for point in book.trade_points.values()],
        "devices": [
            {
                "DeviceToken": device.token,
                "DeviceId": device.device_id,
                "TradePointId": device.trade_point_id,
                "OrganizationBin": device.organization_bin,
                "Active": device.active,
                "Deleted": device.deleted,
            }
            for device in book.devices.values()
        ],
        "payments": len(book.payments),
    }
