"""The words of gateways in front of Kaspi: one table for what they answer and for what they call back.

From the gateways' public documentation (ApiPay, Qut Pay) and Kaspi's own status answer. Names of fields are
compared in lower case, since some write ``external_order_id``, others ``externalOrderId``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from procomp_pay.domain.events import EventType

#: Where the payment's own fields stand, when they are not on the top.
_INSIDE = ("invoice", "payment", "data", "object")
#: Our payment, as the gateway gives it back.
OURS = ("external_order_id", "externalorderid", "external_id", "externalid", "order_id", "orderid")
#: The gateway's id.
THEIRS = ("id", "invoice_id", "invoiceid", "qrpaymentid", "payment_id", "paymentid")
#: Kaspi's operation number.
OPERATION = (
    "transaction_id",
    "transactionid",
    "operation_number",
    "operationnumber",
    "kaspi_transaction_id",
)
STATUS = ("status", "state")
AMOUNT = ("amount", "sum")
#: How much went back so far.
BACK = ("refunded_amount", "refundedamount", "amount_refunded", "total_refunded")
URL = ("payment_url", "paymenturl", "payurl")
ENDS = ("expires_at", "expiresat", "expire_date", "expiredate")
WHEN = ("paid_at", "paidat", "processed_at", "updated_at", "updatedat", "timestamp", "created_at")


@dataclass(frozen=True, slots=True)
class StatusMeaning:
    """What a state says.

    :param news: ``None``: still open.
    :param final: no more money can come through the gateway's object.
    :param went_back: it was paid, and some or all of it went back.
    :param whole_back: all of it did.
    :param known: False for a word that no gateway has told us of.
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
    """What a state says; one that is not known means still open."""
    return _STATES.get(status.lower().replace("-", "_").replace(" ", "_"), _UNKNOWN)


def fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """A payment's fields, from wherever the gateway puts them, by their names in lower case.

    An envelope's own ``status`` ("success": the call went well) is never the payment's, nor is its id.
    """
    outer = _lower(document)
    for name in (*_INSIDE, "order"):
        if isinstance(outer.get(name), Mapping):
            inner = _lower(outer[name])
            if _says(inner, STATUS + URL) or (name in _INSIDE and not _says(outer, OURS + URL)):
                around = {word: outer[word] for word in OURS + URL + ENDS + WHEN if word in outer}
                return around | inner
    return outer


def _says(found: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return first(found, names) is not None


def _lower(document: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in document.items()}


def first(found: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these that says something."""
    return next((found[name] for name in names if found.get(name) is not None), None)


def is_blank(number: str) -> bool:
    """Whether it stands for a number that the gateway does not have: a blank, a zero, a dash. Two of those
    are not one number.
    """
    return not number.strip(" 0-")
