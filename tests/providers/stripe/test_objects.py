"""Stripe's objects with the nulls and unknown values that its API allows."""

from __future__ import annotations

import pytest
import stripe

from procomp_pay.domain.errors import ConfigurationError, PaymentError
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.providers.stripe.objects import parse_dispute, parse_refund
from procomp_pay.providers.stripe.service import _as_domain_error

REFUND = {"id": "re_1", "amount": 2000, "currency": "usd", "metadata": None, "reason": None}
DISPUTE = {"id": "du_1", "amount": 5000, "currency": "usd", "reason": "general", "evidence_details": None}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, RefundState.PENDING),
        ("on_hold", RefundState.PENDING),
        ("requires_action", RefundState.PENDING),
        ("succeeded", RefundState.SUCCEEDED),
        ("canceled", RefundState.CANCELLED),
    ],
)
def test_a_refund_with_an_unknown_status_is_pending(status: str | None, state: RefundState) -> None:
    assert parse_refund({**REFUND, "status": status}).state is state
    if status is None:
        assert parse_refund(REFUND).state is state, "the field may be absent as well"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("prevented", DisputeState.WON),
        ("warning_closed", DisputeState.WON),
        ("won", DisputeState.WON),
        ("lost", DisputeState.LOST),
        ("needs_response", DisputeState.OPEN),
        ("warning_under_review", DisputeState.OPEN),
    ],
)
def test_dispute_statuses(status: str, state: DisputeState) -> None:
    assert parse_dispute({**DISPUTE, "status": status}).state is state


def error_of(kind: type[stripe.StripeError], message: str, status: int) -> PaymentError:
    return _as_domain_error(kind(message, http_status=status))


def test_a_missing_permission_is_reported_as_such() -> None:
    message = "Having the 'rak_charge_write' permission would allow this request to continue."
    missing = error_of(stripe.PermissionError, message, 403)
    assert isinstance(missing, ConfigurationError)
    assert "rak_charge_write" in missing.message
    assert "does not accept" not in missing.message
    wrong = error_of(stripe.AuthenticationError, "Invalid API Key provided", 401)
    assert "does not accept the key" in wrong.message
