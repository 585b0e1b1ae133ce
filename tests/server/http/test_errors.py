"""The codes of errors: a list that clients rely on, and that nothing leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import procomp_pay
from procomp_pay.domain.errors import ErrorCode, PaymentError
from procomp_pay.server.api.routes import document
from procomp_pay.server.http.route import BASE
from tests.support.http_requests import bearer
from tests.support.server import Served

SOURCES = Path(procomp_pay.__file__).parent
DOCS = SOURCES.parent / "docs" / "api.md"
#: Public: a code is never renamed or taken away.
CODES = [
    "refused",
    "invalid_request",
    "invalid_amount",
    "amount_mismatch",
    "fee_missing",
    "currency_mismatch",
    "refund_too_large",
    "provider_refused",
    "invalid_signature",
    "unauthorized",
    "forbidden",
    "not_found",
    "participant_not_found",
    "payment_not_found",
    "no_payment",
    "method_not_allowed",
    "not_acceptable",
    "conflict",
    "already_paid",
    "already_refunded",
    "idempotency_key_reused",
    "payment_in_progress",
    "payment_ended",
    "payment_not_completed",
    "payment_disputed",
    "refund_in_progress",
    "registration_cancelled",
    "registration_status_unknown",
    "tournament_archived",
    "operation_number_used",
    "manual_review_required",
    "body_too_large",
    "uri_too_long",
    "unsupported_media_type",
    "expectation_failed",
    "too_many_requests",
    "headers_too_large",
    "internal_error",
    "unavailable",
    "provider_unavailable",
    "outcome_unknown",
    "database_unavailable",
    "not_set_up",
]


def _classes(cls: type[PaymentError]) -> list[type[PaymentError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _classes(sub))]


def test_every_error_has_a_code_of_the_list() -> None:
    assert [code.value for code in ErrorCode] == CODES
    assert {type(cls.code) for cls in _classes(PaymentError)} == {ErrorCode}
    own = [cls.__name__ for cls in _classes(PaymentError) if "code" in vars(cls)]
    assert len(_classes(PaymentError)) > len(own) > 10
    schema = json.loads(document())["components"]["schemas"]["ErrorCode"]
    assert (schema["type"], schema["enum"]) == ("string", CODES)


def test_every_code_is_used_and_documented() -> None:
    text = "".join(path.read_text("utf-8") for path in SOURCES.rglob("*.py"))
    used = set(re.findall(r"\bErrorCode\.([A-Z_]+)", text))
    assert used == {code.name for code in ErrorCode}
    table = DOCS.read_text("utf-8").partition("## Errors and limits")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == CODES


START = f"{BASE}/initiate"
P1: dict[str, Any] = {"participant_id": "p1", "method": "apple_pay"}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (START, P1 | {"amount": 49, "currency": "USD"}, "amount_mismatch"),
        (START, P1 | {"amount": 49, "currency": "EUR"}, "fee_missing"),
        (START, P1 | {"amount": 49, "currency": "ABC"}, "invalid_amount"),
        (START, P1 | {"amount": 49}, "invalid_request"),
        (START, {}, "invalid_request"),
        (START, P1 | {"participant_id": "nobody"}, "participant_not_found"),
        (f"{BASE}/status/nobody", None, "participant_not_found"),
        (f"{BASE}/status/%00", None, "participant_not_found"),
        (f"{BASE}/status/p1", None, "no_payment"),
        (f"{BASE}/status/p1/x", None, "not_found"),
        (f"{BASE}/health", {}, "method_not_allowed"),
        (f"{BASE}/admin/payments?x=1", None, "invalid_request"),
        (f"{BASE}/admin/payments/nothing/refund", {"reason": "x"}, "payment_not_found"),
        (f"{BASE}/admin/payments/%00/cancel", {}, "payment_not_found"),
        (f"{BASE}/webhooks/stripe", {}, "invalid_signature"),
        (f"{BASE}/webhooks/kaspi?command=check", None, "forbidden"),
    ],
)
async def test_codes_of_single_requests(served: Served, path: str, body: Any, code: str) -> None:
    method = "GET" if body is None else "POST"
    answer = await served.api.request(method, path, json=body, headers=bearer("boss", "admin"))
    assert answer.status_code >= 400
    assert answer.json()["code"] == code
    assert list(answer.json()) == ["detail", "status_code", "code"]


async def test_codes_of_a_key_and_of_a_role(served: Served) -> None:
    key = {"Idempotency-Key": "order-1"}
    await served.initiate(headers=key)
    other = P1 | {"participant_id": "p2"}
    answer = await served.api.post(START, json=other, headers=bearer(role="staff") | key)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    answer = await served.api.get(f"{BASE}/status/p3", headers=bearer())
    assert answer.json()["code"] == "forbidden"
    answer = await served.api.get(f"{BASE}/status/p3")
    assert answer.json()["code"] == "unauthorized"
