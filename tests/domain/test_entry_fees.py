"""The charge: the current fee, in a currency that the method accepts."""

from decimal import Decimal

import pytest

from procomp_pay.domain.entry_fees import EntryFees, charge_for
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import PaymentMethod

USD, KZT = Money.parse("50", "USD"), Money.parse("24000", "KZT")
BOTH = EntryFees("t1", USD, {Currency.KZT: KZT})
DOLLARS = EntryFees("t1", USD, {})


def test_the_current_fee_is_charged_without_an_amount() -> None:
    assert charge_for(BOTH, PaymentMethod.APPLE_PAY, None).charged == USD
    assert charge_for(BOTH, PaymentMethod.KASPI_QR, None).charged == KZT


def test_kaspi_charges_the_fee_in_tenge() -> None:
    charge = charge_for(BOTH, PaymentMethod.KASPI_QR, USD)
    assert (charge.requested, charge.charged) == (USD, KZT)


def test_another_amount_is_rejected() -> None:
    with pytest.raises(Refused, match=r"^Payment amount must match tournament entry fee$"):
        charge_for(BOTH, PaymentMethod.GOOGLE_PAY, Money.parse("49.99", "USD"))


def test_a_currency_without_a_fee_lists_the_others() -> None:
    with pytest.raises(Refused, match="no entry fee in EUR, only in USD, KZT"):
        charge_for(BOTH, PaymentMethod.APPLE_PAY, Money.parse("50", "EUR"))


def test_kaspi_without_a_fee_in_tenge_says_how_to_add_one() -> None:
    with pytest.raises(Refused) as caught:
        charge_for(DOLLARS, PaymentMethod.KASPI_QR, USD)
    assert caught.value.next_step == "procomp-pay tournament fee t1 AMOUNT KZT"


@pytest.mark.parametrize("amount", ["0", "-5", "24000.50"])
def test_a_fee_that_kaspi_cannot_take_is_refused_with_how_to_mend_it(amount: str) -> None:
    fees = EntryFees("t1", Money(Decimal(amount), Currency.KZT), {})
    with pytest.raises(Refused) as caught:
        charge_for(fees, PaymentMethod.KASPI_QR, None)
    assert caught.value.next_step == "procomp-pay tournament fee t1 AMOUNT KZT"


def test_a_wallet_is_not_charged_zero() -> None:
    with pytest.raises(Refused, match="no entry fee to charge"):
        charge_for(EntryFees("t1", Money(Decimal(0), Currency.USD), {}), PaymentMethod.APPLE_PAY, None)
