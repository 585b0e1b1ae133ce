"""Adopt payments that the platform created."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from procomp_pay.domain.adoption import STILL_ASKED, Adoption, PlatformPayment, assess, is_platforms_own
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
CARD = PlatformPayment(
    id="pay1",
    status=PaymentStatus.COMPLETED,
    method=PaymentMethod.APPLE_PAY,
    amount=Decimal("50.00"),
    currency=Currency.USD,
    created_at=NOW - timedelta(days=1),
    named="p1",
    payment_intent="pi_1",
)
KASPI = replace(
    CARD, method=PaymentMethod.KASPI_QR, payment_intent=None, kaspi_code="15", kaspi_number="QR0190000001"
)


def adopted(payment: PlatformPayment) -> Adoption:
    adoption = assess(payment, NOW)
    assert isinstance(adoption, Adoption), adoption
    return adoption


def test_a_paid_payment_is_not_polled() -> None:
    adoption = adopted(CARD)
    assert (adoption.channel, adoption.provider_ref, adoption.create_state) == (
        Channel.STRIPE_INTENT, "pi_1", CreateState.OPEN,
    )  # fmt: skip
    assert (adoption.provider_open, adoption.ask, adoption.given_back) == (False, False, False)
    assert adopted(replace(CARD, checkout_session="cs_1")).provider_ref == "cs_1"


def test_the_operation_number_is_stored_in_canonical_form() -> None:
    adoption = adopted(KASPI)
    assert (adoption.number, adoption.provider_ref) == ("190000001", "15")
    # the number of an unpaid payment settles nothing
    assert adopted(replace(KASPI, status=PaymentStatus.CANCELLED)).number is None


@pytest.mark.parametrize("text", ["https://qr.kaspi.kz/12", "51236903777280167836178166503744993984459"])
def test_the_content_of_a_qr_is_not_a_purchase_number(text: str) -> None:
    """It may also consist of digits only, but of 41."""
    typed = adopted(replace(KASPI, kaspi_code=text))
    assert (typed.provider_ref, typed.create_state) == (None, CreateState.NEVER)
    waits = assess(replace(KASPI, kaspi_code=text, status=PaymentStatus.PENDING), NOW)
    assert isinstance(waits, str), "otherwise it would be reported missing at Kaspi and expire"


@pytest.mark.parametrize("field", ["named", "payment_intent", "checkout_session", "kaspi_number"])
def test_an_overlong_id_is_left_for_manual_review(field: str) -> None:
    """A database index cannot hold it: the adoption of the whole page would fail every time."""
    payment = KASPI if field == "kaspi_number" else CARD
    assert "longer than 255" in str(assess(replace(payment, **{field: "x" * 300}), NOW))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "age", "asked"),
    [
        (PaymentStatus.PENDING, STILL_ASKED * 9, True),
        (PaymentStatus.PROCESSING, timedelta(), True),
        (PaymentStatus.FAILED, timedelta(days=1), True),
        (PaymentStatus.EXPIRED, STILL_ASKED - timedelta(seconds=1), True),
        (PaymentStatus.EXPIRED, STILL_ASKED, False),
        (PaymentStatus.CANCELLED, STILL_ASKED * 2, False),
    ],
)
def test_a_payment_that_may_still_be_paid_is_polled(
    status: PaymentStatus, age: timedelta, asked: bool
) -> None:
    adoption = adopted(replace(CARD, status=status, created_at=NOW - age))
    assert (adoption.provider_open, adoption.ask) == (asked, asked)
    # without an object it can be neither paid nor polled
    if status not in (PaymentStatus.PENDING, PaymentStatus.PROCESSING):
        assert not adopted(replace(CARD, status=status, payment_intent=None)).ask


def test_a_refunded_payment_is_polled_or_counts_as_refunded_in_full() -> None:
    refunded = replace(CARD, status=PaymentStatus.REFUNDED)
    adoption = adopted(refunded)
    assert (adoption.ask, adoption.given_back, adoption.provider_open) == (True, False, False)
    adoption = adopted(replace(refunded, payment_intent=None))
    assert (adoption.ask, adoption.given_back) == (False, True)
    adoption = adopted(replace(KASPI, status=PaymentStatus.REFUNDED))
    assert (adoption.ask, adoption.given_back, adoption.number) == (False, True, "190000001")


@pytest.mark.parametrize(
    ("payment", "reason"),
    [
        (replace(CARD, amount=Decimal(0)), "has no amount"),
        (replace(CARD, named=None), "names no participant"),
        (replace(CARD, settles="p2"), "names participant p1 but settles the fee of p2"),
        (replace(CARD, method=None), "has no method"),
        (replace(CARD, status=PaymentStatus.PENDING, payment_intent=None), "is PENDING and has no id"),
    ],
)
def test_reasons_for_manual_review(payment: PlatformPayment, reason: str) -> None:
    assert str(assess(payment, NOW)).startswith(reason)


def test_the_settled_participant_is_enough() -> None:
    assert adopted(replace(CARD, named=None, settles="p2")).participant_id == "p2"


def test_the_only_registration_is_enough() -> None:
    assert adopted(replace(CARD, named=None, registered="p3")).participant_id == "p3"
    assert adopted(replace(CARD, registered="p3")).participant_id == "p1"


@pytest.mark.parametrize("method", [None, UnknownLabel("CASH")])
def test_cash_is_the_platforms_own(method: UnknownLabel | None) -> None:
    cash = replace(CARD, method=method, payment_intent=None)
    assert is_platforms_own(cash)
    assert not is_platforms_own(replace(cash, payment_intent="pi_1")), "its provider may have money for it"
    assert not is_platforms_own(replace(cash, method=PaymentMethod.APPLE_PAY))
