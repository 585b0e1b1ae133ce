"""Fields of a gateway's envelope are never mistaken for those of the payment."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.domain.events import EventType
from procomp_pay.providers.kaspi import gateway_fields

PAID, OPEN = EventType.SUCCEEDED, None
SHAPES: list[tuple[dict[str, Any], str | None, EventType | None]] = [
    ({"id": "7", "status": "paid"}, "7", PAID),
    ({"Data": {"QrPaymentId": 7, "Status": "Processed"}}, "7", PAID),
    ({"status": "success", "data": {"id": "7", "status": "pending"}}, "7", OPEN),
    ({"status": "success", "data": {"id": "7", "state": "pending"}}, "7", OPEN),
    ({"status": "success", "data": {"id": "7"}}, "7", OPEN),
    ({"status": "success", "id": "req_1", "invoice": {"amount": 5}}, None, OPEN),
    ({"id": "evt_1", "event": "x", "data": {"status": "paid", "order_id": "p"}}, None, PAID),
    ({"id": "7", "status": "pending", "order": {"id": "shop-1"}}, "7", OPEN),
    ({"id": "7", "status": "new", "payUrl": "https://x", "data": {"id": "merchant"}}, "7", OPEN),
]


@pytest.mark.parametrize(("document", "theirs", "event_type"), SHAPES)
def test_fields_of_known_formats(
    document: dict[str, Any], theirs: str | None, event_type: EventType | None
) -> None:
    fields = gateway_fields.fields(document)
    given = gateway_fields.first(fields, gateway_fields.GATEWAY_ID)
    assert (None if given is None else str(given)) == theirs
    assert (
        gateway_fields.meaning(str(gateway_fields.first(fields, gateway_fields.STATUS) or "")).event_type
        is event_type
    )


def test_our_id_and_expiry_may_be_in_the_envelope() -> None:
    fields = gateway_fields.fields(
        {"external_id": "p1", "expires_at": "2026-01-15", "payment": {"status": "new"}}
    )
    assert (
        gateway_fields.first(fields, gateway_fields.OUR_ID),
        gateway_fields.first(fields, gateway_fields.EXPIRES_AT),
    ) == ("p1", "2026-01-15")
