"""Phone numbers, as operators type them."""

from __future__ import annotations

import pytest

from procomp_pay.domain.errors import Refused
from procomp_pay.providers.kaspi.invoices import read_phone

PHONE = "87071234567"


@pytest.mark.parametrize(
    "typed",
    ["87071234567", "+7 707 123 45 67", "7(707)123-45-67", "8 707 1234567", "+7\u00a0707\u00a01234567"],
)
def test_notations_of_a_phone_number(typed: str) -> None:
    assert read_phone(typed) == PHONE


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "707123456",
        "+996707123456",
        "86071234567",
        "8707123456x",
        "87271234567",
        "+7 717 212 34 56",
        "８７０７１２３４５６７",
    ],
)
def test_invalid_phone_numbers_are_rejected(typed: str) -> None:
    with pytest.raises(Refused, match="mobile number"):
        read_phone(typed)
