"""Money is exact, bounded, and never changes its currency."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.entry_fees import checked_fee
from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.money import LARGEST, Currency, Money

amounts = st.decimals("0.01", LARGEST, places=2, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    "text",
    ["0", "0.00", "-1", "-0.01", "NaN", "sNaN", "Infinity", "-Infinity", "1e9", "100000000", "1.005", "0.001",
     "", " ", "fifty", "50,00", "1_0.0.0", "0x10", "1e-3", "9" * 400, "1e400",
     "1e1000000", "1e-1000000", "-1e1000000"],
)  # fmt: skip
def test_invalid_amounts_are_rejected(text: str) -> None:
    with pytest.raises(InvalidAmount):
        Money.parse(text, "USD")


@pytest.mark.parametrize("value", [1.5, True, None, [], float("nan")])
def test_floats_and_other_types_are_rejected(value: object) -> None:
    with pytest.raises(InvalidAmount):
        Money.parse(value, "USD")  # type: ignore[arg-type]


@pytest.mark.parametrize("currency", ["JPY", "usdt", "", "₸"])
def test_unsupported_currencies_are_rejected(currency: str) -> None:
    with pytest.raises(InvalidAmount):
        Money.parse("50", currency)


def test_float_never_becomes_money() -> None:
    with pytest.raises(TypeError):
        Money(50.0, Currency.USD)  # type: ignore[arg-type]


def test_two_decimals_are_kept() -> None:
    assert str(Money.parse("50", "usd").amount) == "50.00"
    assert str(Money.parse(Decimal("5e1"), "usd").amount) == "50.00"


@given(amounts, st.sampled_from(Currency))
def test_minor_units_round_trip(amount: Decimal, currency: Currency) -> None:
    money = Money(amount, currency)
    assert money.minor_units == int(amount * 100)
    assert Money.from_minor_units(money.minor_units, currency.lower()) == money


@given(st.one_of(st.text(max_size=12), st.decimals(), st.integers()), st.text(max_size=4))
def test_any_input_raises_invalid_amount_only(amount: object, currency: str) -> None:
    try:
        money = Money.parse(amount, currency)  # type: ignore[arg-type]
    except InvalidAmount:
        return
    assert Decimal(0) < money.amount <= LARGEST


@pytest.mark.parametrize(
    ("typed", "amount"),
    [("24 000", "24000"), ("10\u00a0000,50", "10000.50"), ("1 234 567.8", "1234567.80"), (" 50,5 ", "50.50")],
)
def test_an_amount_may_be_typed_as_it_is_shown(typed: str, amount: str) -> None:
    assert Money.typed(typed, "KZT").amount == Decimal(amount)


@pytest.mark.parametrize(
    "typed",
    ["24,000", "24.000", "1.500", "24 00", "1 23", "1,234.50", "24.000.000", "-5,0", ",5", "1 0000",
     "1e3", "1E3", "5e-1", "1_000", "+5", "٢٤٠٠٠"],
)  # fmt: skip
def test_what_people_do_not_write_or_read_in_two_ways_is_refused(typed: str) -> None:
    with pytest.raises(InvalidAmount, match=r"is not an amount of money"):
        Money.typed(typed, "KZT")


def test_currencies_do_not_mix() -> None:
    with pytest.raises(InvalidAmount):
        Money.parse("1", "USD") + Money.parse("1", "KZT")


def test_a_fee_in_tenge_is_a_whole_number() -> None:
    with pytest.raises(InvalidAmount, match="whole tenge"):
        checked_fee(Money.parse("100.50", "KZT"))
    assert checked_fee(Money.parse("100", "KZT"))
    assert checked_fee(Money.parse("100.50", "USD"))


def test_formatted_money_stays_on_one_line() -> None:
    assert str(Money.parse("24000", "KZT")) == "24\u00a0000.00\u00a0KZT"
