"""Currencies that Stripe charges in, and the bounds of a charge.

Source: https://docs.stripe.com/currencies (presentment currencies, minimum and maximum amounts).
Amounts are minor units throughout: cents, tiyn, or whole yen where a currency has no decimals.
"""

from __future__ import annotations

_CURRENCIES_TEXT = """
usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bif bmd bnd bob brl bsd bwp byn bzd cad
cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd
hnl htg huf idr ils inr isk jmd jpy kes kgs khr kmf krw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd
mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln pyg qar ron rsd
rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx uyu uzs vnd
vuv wst xaf xcd xcg xof xpf yer zar zmw
"""
CURRENCIES = frozenset(_CURRENCIES_TEXT.split())
_ZERO_DECIMAL_TEXT = """
bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf
"""
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL_TEXT.split())
MAX_AMOUNT = 99_999_999

_MINIMUM = {"gbp": 30, "hkd": 400, "mxn": 1000, "sek": 300, "nok": 300, "dkk": 250, "huf": 17500, "czk": 1500}
_DEFAULT_MINIMUM = 50


def minimum_amount(currency: str) -> int:
    """Return the smallest charge in minor units of `currency`."""
    return _MINIMUM.get(currency, _DEFAULT_MINIMUM)


def display(amount: int, currency: str) -> str:
    """Return `amount` minor units as text such as "50.00 USD"."""
    code = currency.upper()
    if currency in ZERO_DECIMAL:
        return f"{amount} {code}"
    return f"{amount // 100}.{amount % 100:02d} {code}"
