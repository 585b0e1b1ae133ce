"""Kaspi's wire format: envelope, status codes with a message each, dates and amounts.

Source: Kaspi's "Public QR API, integration documentation v3.9", as summarised in KASPI.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import simplejson

from procomp_pay.domain.errors import (
    ConfigurationError,
    ErrorCode,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.providers.resilience.retry import Throttled, Unclear, retry_after_s

ALMATY = ZoneInfo("Asia/Almaty")


class RefundNotMade(Unclear):
    """-99000006: retry once after checking the refunded sum, then contact the bank."""


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """The error for a StatusCode: its class, its message, and the operator's next step."""

    kind: type[PaymentError]
    what: str
    do: str


_ASK = "call your Kaspi manager with the code"
_NO_INVOICE = "take it with a QR at the desk, or another way to pay"
#: StatusCodes from appendix 3 of the documentation, which lists those of invoices without their meaning. Any
#: other code is a rejection with Kaspi's own message.
CODES: dict[int, CodeMeaning] = {
    -999: CodeMeaning(ProviderUnavailable, "Kaspi is not available just now", "try again in a minute"),
    -10000: CodeMeaning(
        ConfigurationError,
        "Kaspi denies access: no valid key or client certificate",
        "check KASPI_API_KEY (basic), or KASPI_CLIENT_CERT and KASPI_CLIENT_KEY",
    ),
    -1401: CodeMeaning(NotFound, "Kaspi does not know this customer", "check the phone number"),
    -1404: CodeMeaning(NotFound, "Kaspi does not know this phone number", "check the phone number"),
    -1501: CodeMeaning(ConfigurationError, "Kaspi does not know this device", "check KASPI_DEVICE_TOKEN"),
    -1502: CodeMeaning(
        ConfigurationError, "This device is switched off at Kaspi", "register the device again"
    ),
    -1503: CodeMeaning(
        ConfigurationError, "The device belongs to another trade point", "check KASPI_TRADE_POINT_ID"
    ),
    -1601: CodeMeaning(NotFound, "Kaspi does not know this purchase", "check the number"),
    -14000002: CodeMeaning(
        ConfigurationError, "There is no trade point at Kaspi", "make one in the Kaspi Pay app"
    ),
    -99000001: CodeMeaning(NotFound, "Kaspi does not know this purchase", "check the number"),
    -99000002: CodeMeaning(
        ConfigurationError, "Kaspi does not know this trade point", "check KASPI_TRADE_POINT_ID"
    ),
    -99000003: CodeMeaning(
        Refused,  # it belongs to this purchase: the next one may be ours
        "The purchase belongs to another trade point",
        "use the device of the trade point that took the payment",
    ),
    -99000005: CodeMeaning(Refused, "The refund is more than the purchase", "refund what is left"),
    -99000006: CodeMeaning(
        # the refunded sum is checked before a second attempt, so it is not retried automatically
        RefundNotMade,
        "Kaspi could not make the refund",
        "it is checked again later; if it persists, call the bank",
    ),
    -99000011: CodeMeaning(
        Refused, "The purchase cannot be refunded in its state", "look at its status first"
    ),
    -99000020: CodeMeaning(Refused, "This purchase cannot be refunded in part", "refund it in full"),
    99000010: CodeMeaning(Refused, "Kaspi does not send this invoice", _NO_INVOICE),
    990000018: CodeMeaning(
        ConfigurationError, "The trade point is switched off at Kaspi", "switch it on in the Kaspi Pay app"
    ),
    990000026: CodeMeaning(ConfigurationError, "The trade point takes no QR payments", _ASK),
    990000028: CodeMeaning(Refused, "Kaspi does not take this amount", "check the fee: whole tenge"),
    990000029: CodeMeaning(Refused, "Kaspi sends no invoice to this customer", _NO_INVOICE),
    990000031: CodeMeaning(Refused, "This customer takes no invoices", _NO_INVOICE),
    990000032: CodeMeaning(Refused, "Kaspi does not take invoices here", _NO_INVOICE),
    990000033: CodeMeaning(ConfigurationError, "Kaspi offers no payment method here", _ASK),
}


def error_for(code: int, message: str | None) -> PaymentError:
    """Return the error for a StatusCode other than 0; an unknown code is a rejection, never a success."""
    meaning = CODES.get(code) or CODES.get(-code)  # tables in Kaspi's documentation differ in the sign
    if meaning is None:
        detail = f": {message[:200]}" if message else ""
        return Refused(
            f"Kaspi rejected the request with code {code}{detail}",
            next_step=_ASK,
            code=ErrorCode.PROVIDER_REFUSED,
        )
    return meaning.kind(f"{meaning.what} (Kaspi code {code})", next_step=meaning.do)


def read_envelope(http_status: int, body: bytes, retry_after: str | None) -> Mapping[str, Any]:
    """Return the ``Data`` of an answer, with numbers as Decimal.

    :raises PaymentError: the error for the StatusCode; ``OutcomeUnknown`` if the answer is not Kaspi's own (a
        proxy's page, an HTTP error), ``ProviderUnavailable`` for HTTP 429 and 503.
    """
    wait = retry_after_s(retry_after)
    if http_status == 429:
        raise Throttled("Kaspi asks us to slow down (HTTP 429)", retry_after=wait)
    if http_status == 503:
        raise ProviderUnavailable("Kaspi is too busy (HTTP 503)", retry_after=wait)
    if http_status in (401, 403):
        raise ConfigurationError(
            f"Kaspi denies access (HTTP {http_status})",
            next_step="check KASPI_API_KEY or KASPI_CLIENT_CERT, then: procomp-pay doctor",
        )
    try:
        answer = simplejson.loads(body, use_decimal=True)
        code = int(answer["StatusCode"])
    except (ValueError, KeyError, TypeError):
        if http_status in (400, 415):  # the request was not understood, so nothing was done
            raise Refused(f"Kaspi did not understand the request (HTTP {http_status})") from None
        raise OutcomeUnknown(f"Kaspi's answer cannot be read (HTTP {http_status})") from None
    if code != 0:
        raise error_for(code, answer.get("Message"))
    if http_status >= 300:
        raise OutcomeUnknown(f"Kaspi answered HTTP {http_status}")
    data = answer.get("Data")
    return data if isinstance(data, Mapping) else {"items": data}


_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})T(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:(Z)|([+-])(\d{1,2})(?::?(\d{2}))?)?$"
)


def parse_date(text: str) -> datetime:
    """Parse a Kaspi date to an aware datetime. It may have a short offset, an unpadded day and seven digits
    of fraction; without an offset it is Almaty time.

    :raises ValueError: it is not such a date.
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a Kaspi date: {text[:40]!r}")
    year, month, day, hour, minute, second, fraction, utc, sign, off_hours, off_minutes = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    naive = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros)  # noqa: DTZ001
    if utc:
        return naive.replace(tzinfo=UTC)
    if sign is None:
        return naive.replace(tzinfo=ALMATY)
    offset = timedelta(hours=int(off_hours), minutes=int(off_minutes or 0))
    return naive.replace(tzinfo=timezone(offset if sign == "+" else -offset))


def amount_number(amount: Decimal) -> Decimal:
    """Return an amount in tenge as Kaspi expects it: a JSON number with two decimals."""
    return amount.quantize(Decimal("0.01"))
