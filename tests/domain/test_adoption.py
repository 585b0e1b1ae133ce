"""What becomes of a payment that the platform wrote."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from procomp_pay.domain.adoption import STILL_ASKED, Adoption, PlatformPayment, assess
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
CARD = PlatformPayment(
    id="pay1",
    status=PaymentStatus.COMPLETED,
    method=PaymentMethod.APPLE_PAY,
    amount=Decimal("50.00"),
    created_at=NOW - timedelta(days=1),
    named="p1",
    payment_intent="pi_1",
)
KASPI = replace(
    CARD, method=PaymentMethod.KASPI_QR, payment_intent=None, kaspi_code="15", kaspi_number="QR0190000001"
)


def adopted(payment: PlatformPayment) -> Adoption:
    found = assess(payment, NOW)
    assert isinstance(found, Adoption), found
    return found


def test_paid_ones_are_over() -> None:
    found = adopted(CARD)
    assert (found.channel, found.provider_ref, found.create_state) == (
        Channel.STRIPE_INTENT, "pi_1", CreateState.OPEN,
    )  # fmt: skip
    assert (found.provider_open, found.ask, found.given_back) == (False, False, False)
    assert adopted(replace(CARD, checkout_session="cs_1")).provider_ref == "cs_1"


def test_a_number_is_used_up_as_we_write_numbers() -> None:
    found = adopted(KASPI)
    assert (found.number, found.provider_ref) == ("190000001", "15")
    # what stands on a payment that nobody paid settles nothing
    assert adopted(replace(KASPI, status=PaymentStatus.CANCELLED)).number is None


@pytest.mark.parametrize("text", ["https://qr.kaspi.kz/12", "51236903777280167836178166503744993984459"])
def test_the_qrs_text_is_nothing_that_kaspi_could_be_asked_about(text: str) -> None:
    """It may be digits alone, too: forty-one of them."""
    typed = adopted(replace(KASPI, kaspi_code=text))
    assert (typed.provider_ref, typed.create_state) == (None, CreateState.NEVER)
    waits = assess(replace(KASPI, kaspi_code=text, status=PaymentStatus.PENDING), NOW)
    assert isinstance(waits, str), "else it would be called missing at Kaspi, and expire"


@pytest.mark.parametrize("field", ["named", "payment_intent", "checkout_session", "kaspi_number"])
def test_what_is_no_id_stops_no_takeover_of_the_others(field: str) -> None:
    """An index holds no name of kilobytes: the whole page would fail, each time anew."""
    payment = KASPI if field == "kaspi_number" else CARD
    assert "longer than any" in str(assess(replace(payment, **{field: "x" * 300}), NOW))  # type: ignore[arg-type]


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
def test_what_may_still_be_paid_is_asked_about(status: PaymentStatus, age: timedelta, asked: bool) -> None:
    found = adopted(replace(CARD, status=status, created_at=NOW - age))
    assert (found.provider_open, found.ask) == (asked, asked)
    # without an object nobody can pay, and nobody can be asked
    if status not in (PaymentStatus.PENDING, PaymentStatus.PROCESSING):
        assert not adopted(replace(CARD, status=status, payment_intent=None)).ask


def test_what_went_back_is_asked_or_taken_as_whole() -> None:
    refunded = replace(CARD, status=PaymentStatus.REFUNDED)
    found = adopted(refunded)
    assert (found.ask, found.given_back, found.provider_open) == (True, False, False)
    found = adopted(replace(refunded, payment_intent=None))
    assert (found.ask, found.given_back) == (False, True)
    found = adopted(replace(KASPI, status=PaymentStatus.REFUNDED))
    assert (found.ask, found.given_back, found.number) == (False, True, "190000001")


@pytest.mark.parametrize(
    ("payment", "reason"),
    [
        (replace(CARD, amount=Decimal(0)), "has no amount"),
        (replace(CARD, named=None), "names no participant"),
        (replace(CARD, settles="p2"), "names participant p1, and settles the fee of p2"),
        (replace(CARD, method=None), "names no method"),
        (replace(CARD, status=PaymentStatus.PENDING, payment_intent=None), "is PENDING and names nothing"),
    ],
)
def test_a_person_looks_first(payment: PlatformPayment, reason: str) -> None:
    assert str(assess(payment, NOW)).startswith(reason)


def test_whose_fee_it_settled_is_enough() -> None:
    assert adopted(replace(CARD, named=None, settles="p2")).participant_id == "p2"
