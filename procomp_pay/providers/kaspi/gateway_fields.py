"""Field names and states of gateways in front of Kaspi, for answers and callbacks.

From the gateways' public documentation (ApiPay, Qut Pay) and Kaspi's own status answer. Field names are
compared in lower case, since some gateways write ``external_order_id``, others ``externalOrderId``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.events import EventType
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.redact import one_line

#: Keys under which the payment's own fields may be, if not at the top level.
_INSIDE = ("invoice", "payment", "data", "object")
#: The id of our payment that we send, in an answer.
SENT_ID = ("external_order_id", "externalorderid")
#: Our payment's id, as the gateway returns it.
OUR_ID = (*SENT_ID, "external_id", "externalid", "order_id", "orderid")
#: The gateway's id.
GATEWAY_ID = ("id", "invoice_id", "invoiceid", "qrpaymentid", "payment_id", "paymentid")
#: Kaspi's operation number.
OPERATION_NUMBER = (
    "transaction_id",
    "transactionid",
    "operation_number",
    "operationnumber",
    "kaspi_transaction_id",
)
STATUS = ("status", "state")
AMOUNT = ("amount", "sum")
#: The amount refunded so far.
REFUNDED_AMOUNT = ("refunded_amount", "refundedamount", "amount_refunded", "total_refunded")
PAYMENT_URL = ("payment_url", "paymenturl", "payurl")
EXPIRES_AT = ("expires_at", "expiresat", "expire_date", "expiredate")
#: The longest id, state or number that is stored.
_LONGEST = 128
PAID_AT = ("paid_at", "paidat", "processed_at", "updated_at", "updatedat", "timestamp", "created_at")


@dataclass(frozen=True, slots=True)
class StatusMeaning:
    """The meaning of a state.

    :param event_type: ``None`` if the payment is still open.
    :param final: no more money can come through the gateway's object.
    :param refunded: it was paid, and some or all of it was refunded.
    :param whole_back: all of it was refunded.
    :param known: False for a state that no known gateway uses.
    """

    event_type: EventType | None
    final: bool = False
    refunded: bool = False
    whole_back: bool = False
    known: bool = True


_OPEN, _SCANNED = StatusMeaning(None), StatusMeaning(EventType.PROCESSING)
_PAID = StatusMeaning(EventType.SUCCEEDED, final=True)
_PART_BACK = StatusMeaning(EventType.SUCCEEDED, final=True, refunded=True)
_BACK = replace(_PART_BACK, whole_back=True)
_FAILED, _CANCELLED = (
    StatusMeaning(EventType.FAILED, final=True),
    StatusMeaning(EventType.CANCELLED, final=True),
)
_STATES: dict[str, StatusMeaning] = {
    **dict.fromkeys(("new", "created", "pending", "processing", "open", "cancelling"), _OPEN),
    **dict.fromkeys(("wait", "scanned", "confirming"), _SCANNED),
    **dict.fromkeys(("paid", "success", "succeeded", "completed", "processed"), _PAID),
    **dict.fromkeys(("partially_refunded", "partiallyrefunded"), _PART_BACK),
    "refunded": _BACK,
    **dict.fromkeys(("failed", "error", "rejected", "declined"), _FAILED),
    **dict.fromkeys(("cancelled", "canceled", "voided"), _CANCELLED),
    "expired": StatusMeaning(EventType.EXPIRED, final=True),
}
_UNKNOWN = StatusMeaning(None, known=False)


def meaning(status: str) -> StatusMeaning:
    """Return the meaning of a gateway's state; an unknown one means "still open"."""
    return _STATES.get(status.lower().replace("-", "_").replace(" ", "_"), _UNKNOWN)


def fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payment's fields, wherever the gateway puts them, by their names in lower case.

    The ``status`` of an envelope ("success": the call succeeded) is never the payment's, nor is its id.
    """
    outer = _lower(document)
    for name in (*_INSIDE, "order"):
        if isinstance(outer.get(name), Mapping):
            inner = _lower(outer[name])
            if _has_any(inner, STATUS + PAYMENT_URL) or (
                name in _INSIDE and not _has_any(outer, OUR_ID + PAYMENT_URL)
            ):
                envelope = {
                    field: outer[field]
                    for field in OUR_ID + PAYMENT_URL + EXPIRES_AT + PAID_AT
                    if field in outer
                }
                return envelope | inner
    return outer


def _has_any(values: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return first(values, names) is not None


def _lower(document: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in document.items()}


def first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the value of the first of these fields that is set; ``None`` if none is."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def text(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of these fields that is a number or a text that can be stored; ``None`` if none is."""
    for name in names:
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
            return value
    return None


def is_of_another(values: Mapping[str, Any], *, gateway_id: str | None, payment_id: str | None) -> bool:
    """Return whether an answer names another payment than the one asked about.

    One that names none cannot be checked. Names that a gateway may also use for numbers of its own
    (``order_id``) count only where no other id is the right one.

    :param gateway_id: ``None`` if the gateway has not told it yet.
    :param payment_id: ours; ``None`` if it is not known.
    """
    sent = text(values, SENT_ID)
    if payment_id is not None and sent is not None:
        return sent != payment_id
    if gateway_id is None:
        return False
    named = {text(values, (name,)) for name in OUR_ID + GATEWAY_ID} - {None}
    return bool(named) and not named & {gateway_id, payment_id}


def money(values: Mapping[str, Any]) -> tuple[Money | None, str | None]:
    """Return the paid amount; if it is not a valid amount, its text instead."""
    amount = first(values, AMOUNT)
    if amount is None:
        return None, None
    currency = values.get("currency") or Currency.KZT
    try:
        return Money.parse(amount, str(currency)), None
    except InvalidAmount:
        return None, one_line(f"{amount} {currency}")[:40]


def is_blank(number: str) -> bool:
    """Return whether the text is only a placeholder for a number (a blank, a zero, a dash), which must not
    count as a duplicate.
    """
    return not number.strip(" 0-")
