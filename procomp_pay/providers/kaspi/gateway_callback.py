"""Parse the callbacks of gateways in front of Kaspi, which use different field names.

Formats (from the gateways' public documentation): ApiPay ``{"event", "invoice": {…}}``, Qut Pay with names in
camelCase, and the fields of Kaspi's own status answer in PascalCase
(:mod:`procomp_pay.providers.kaspi.gateway_fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.money import Money
from procomp_pay.providers.kaspi import gateway_fields
from procomp_pay.providers.kaspi.wire import parse_date


@dataclass(frozen=True, slots=True)
class ParsedCallback:
    """The content of a callback.

    :param ours: our payment's id, as the gateway returns it.
    :param event_type: ``None`` for a state without an event.
    :param refunded: it reports a refund, whose amount an operator has to compare.
    :param money_unreadable: the text of the amount, if it is not a valid amount.
    """

    ours: str | None
    ids: ProviderIds
    status: str
    event_type: EventType | None
    at: datetime | None
    money: Money | None = None
    money_unreadable: str | None = None
    refunded: bool = False

    @property
    def is_final(self) -> bool:
        """Return whether no more money can come through the gateway's object."""
        return self.event_type is not None and self.event_type is not EventType.PROCESSING


def read_callback(document: Any) -> ParsedCallback | None:
    """Parse a callback's body; ``None`` if it names no payment or no state."""
    if not isinstance(document, Mapping):
        return None
    fields = gateway_fields.fields(document)
    status = gateway_fields.text(fields, gateway_fields.STATUS) or ""
    operation = gateway_fields.text(fields, gateway_fields.OPERATION_NUMBER) or ""
    ids = ProviderIds(
        kaspi_payment=gateway_fields.text(fields, gateway_fields.GATEWAY_ID),
        kaspi_operation=None if gateway_fields.is_blank(operation) else operation,
    )
    ours = gateway_fields.text(fields, gateway_fields.OUR_ID)
    if not status or (ours is None and ids.kaspi_payment is None):
        return None
    meaning = gateway_fields.meaning(status)
    money, unreadable = gateway_fields.money(fields)
    return ParsedCallback(
        ours=ours,
        ids=ids,
        status=status,
        event_type=None if meaning.refunded else meaning.event_type,
        at=_time(fields),
        money=money,
        money_unreadable=unreadable,
        refunded=meaning.refunded,
    )


def type_of(document: Any) -> str:
    """Return a short name of the callback, for the list of events."""
    callback = read_callback(document)
    named = document.get("event") if isinstance(document, Mapping) else None
    word = named if isinstance(named, str) and named.isprintable() else callback.status if callback else ""
    return word[:64] or "unknown"


def _time(fields: Mapping[str, Any]) -> datetime | None:
    for name in gateway_fields.PAID_AT:
        value = fields.get(name)
        try:
            if isinstance(value, str):
                return parse_date(value.replace(" ", "T", 1)).astimezone(UTC)
            if isinstance(value, int) and not isinstance(value, bool):
                return datetime.fromtimestamp(value / 1000 if value > 10**11 else value, UTC)
        except (ValueError, OverflowError, OSError):
            continue
    return None
