"""Kaspi's wire format: envelope, status codes with a message each, dates and amounts.

Source: Kaspi's "Public QR API, integration documentation v3.9", as summarised in KASPI.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import simplejson

from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.errors import (
    ConfigurationError,
    ErrorCode,
    InvalidAmount,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.redact import one_line
from procomp_pay.domain.text import N_
from procomp_pay.providers.resilience.retry import Throttled, Unclear, retry_after_s

log = logging.getLogger(__name__)

#: Characters of a text from Kaspi that are kept.
_LONGEST_TEXT = 200
_LONGEST_TOKEN = 2000
#: The largest purchase number: Kaspi's are Int64.
_LARGEST_ID = 2**63 - 1
_LONGEST_TIMER_S = 7 * 24 * 3600


class RefundNotMade(Unclear):
    """-99000006: retry once after checking the refunded sum, then contact the bank."""


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """The error for a StatusCode: its class, its message, and the operator's next step."""

    kind: type[PaymentError]
    what: str
    do: str


_ASK = N_("call your Kaspi manager with the code")
_NO_INVOICE = N_("take it with a QR at the desk, or another way to pay")
_OTHER_ACCOUNT = N_(
    "check the number, and that KASPI_API_URL, the key and the device are those it was paid with"
)
#: StatusCodes from appendix 3 of the documentation, which lists those of invoices without their meaning. Any
#: other code is a rejection with Kaspi's own message.
CODES: dict[int, CodeMeaning] = {
    -999: CodeMeaning(
        ProviderUnavailable, N_("Kaspi is not available just now"), N_("try again in a minute")
    ),
    -10000: CodeMeaning(
        ConfigurationError,
        N_("Kaspi denies access: no valid key or client certificate"),
        N_("check KASPI_API_KEY (basic), or KASPI_CLIENT_CERT and KASPI_CLIENT_KEY"),
    ),
    -1401: CodeMeaning(NotFound, N_("Kaspi does not know this customer"), N_("check the phone number")),
    -1404: CodeMeaning(NotFound, N_("Kaspi does not know this phone number"), N_("check the phone number")),
    -1501: CodeMeaning(
        ConfigurationError, N_("Kaspi does not know this device"), N_("check KASPI_DEVICE_TOKEN")
    ),
    -1502: CodeMeaning(
        ConfigurationError, N_("This device is switched off at Kaspi"), N_("register the device again")
    ),
    -1503: CodeMeaning(
        ConfigurationError, N_("The device belongs to another trade point"), N_("check KASPI_TRADE_POINT_ID")
    ),
    -1601: CodeMeaning(NotFound, N_("Kaspi does not know this purchase"), _OTHER_ACCOUNT),
    -14000002: CodeMeaning(
        ConfigurationError, N_("There is no trade point at Kaspi"), N_("make one in the Kaspi Pay app")
    ),
    -99000001: CodeMeaning(NotFound, N_("Kaspi does not know this purchase"), _OTHER_ACCOUNT),
    -99000002: CodeMeaning(
        ConfigurationError, N_("Kaspi does not know this trade point"), N_("check KASPI_TRADE_POINT_ID")
    ),
    -99000003: CodeMeaning(
        Refused,  # it belongs to this purchase: the next one may be ours
        N_("The purchase belongs to another trade point"),
        N_("use the device of the trade point that took the payment"),
    ),
    -99000005: CodeMeaning(Refused, N_("The refund is more than the purchase"), N_("refund what is left")),
    -99000006: CodeMeaning(
        # the refunded sum is checked before a second attempt, so it is not retried automatically
        RefundNotMade,
        N_("Kaspi could not make the refund"),
        N_("it is checked again later; if it persists, call the bank"),
    ),
    -99000011: CodeMeaning(
        Refused, N_("The purchase cannot be refunded in its state"), N_("look at its status first")
    ),
    -99000020: CodeMeaning(Refused, N_("This purchase cannot be refunded in part"), N_("refund it in full")),
    99000010: CodeMeaning(Refused, N_("Kaspi does not send this invoice"), _NO_INVOICE),
    990000018: CodeMeaning(
        ConfigurationError,
        N_("The trade point is switched off at Kaspi"),
        N_("switch it on in the Kaspi Pay app"),
    ),
    990000026: CodeMeaning(ConfigurationError, N_("The trade point takes no QR payments"), _ASK),
    990000028: CodeMeaning(Refused, N_("Kaspi does not take this amount"), N_("check the fee: whole tenge")),
    990000029: CodeMeaning(Refused, N_("Kaspi sends no invoice to this customer"), _NO_INVOICE),
    990000031: CodeMeaning(Refused, N_("This customer takes no invoices"), _NO_INVOICE),
    990000032: CodeMeaning(Refused, N_("Kaspi does not take invoices here"), _NO_INVOICE),
    990000033: CodeMeaning(ConfigurationError, N_("Kaspi offers no payment method here"), _ASK),
}


def error_for(code: int, message: object) -> PaymentError:
    """Return the error for a StatusCode other than 0; an unknown code is a rejection, never a success."""
    meaning = CODES.get(code) or CODES.get(-code)  # tables in Kaspi's documentation differ in the sign
    if meaning is None:
        detail = f": {shown}" if (shown := visible(message)) else ""
        return Refused(
            N_("Kaspi rejected the request with code %(code)s%(detail)s", code=code, detail=detail),
            next_step=_ASK,
            code=ErrorCode.PROVIDER_REFUSED,
        )
    return meaning.kind(
        N_("%(what)s (Kaspi code %(code)s)", what=meaning.what, code=code), next_step=meaning.do
    )


def read_envelope(http_status: int, body: bytes, retry_after: str | None) -> Mapping[str, Any]:
    """Return the ``Data`` of an answer, with numbers as Decimal.

    :raises PaymentError: the error for the StatusCode; ``OutcomeUnknown`` if the answer is not Kaspi's own (a
        proxy's page, an HTTP error), ``ProviderUnavailable`` for HTTP 429 and 503.
    """
    wait = retry_after_s(retry_after)
    if http_status == 429:
        raise Throttled("Kaspi asks us to slow down (HTTP 429)", retry_after=wait)
    if http_status == 503:
        raise ProviderUnavailable(N_("Kaspi is too busy (HTTP 503)"), retry_after=wait)
    if http_status in (401, 403):
        raise ConfigurationError(
            N_("Kaspi denies access (HTTP %(http_status)s)", http_status=http_status),
            next_step=N_("check KASPI_API_KEY or KASPI_CLIENT_CERT, then: procomp-pay doctor"),
        )
    try:
        answer = simplejson.loads(body, use_decimal=True)
        code = whole_number(answer["StatusCode"])
    except (ValueError, KeyError, TypeError, RecursionError):
        if http_status in (400, 415):  # the request was not understood, so nothing was done
            raise Refused(
                N_("Kaspi did not understand the request (HTTP %(http_status)s)", http_status=http_status)
            ) from None
        raise OutcomeUnknown(
            N_("Kaspi's answer cannot be read (HTTP %(http_status)s)", http_status=http_status)
        ) from None
    if code != 0:
        raise error_for(code, answer.get("Message"))
    if http_status >= 300:
        raise OutcomeUnknown(N_("Kaspi answered HTTP %(http_status)s", http_status=http_status))
    data = answer.get("Data")
    return data if isinstance(data, Mapping) else {"items": data}


_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})T(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:(Z)|([+-])(\d{1,2})(?::?(\d{2}))?)?$"
)


def visible(value: object) -> str:
    """Return a text of Kaspi as it can be stored and shown: bounded, on one line, without control characters;
    empty for ``null``.
    """
    return "" if value is None else one_line(str(value)[:_LONGEST_TEXT])


def whole_number(value: object) -> int:
    """Return a whole number: a JSON number, or its digits as text.

    :raises ValueError: it is not one.
    """
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 19 and value % 1 == 0:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"not a whole number: {visible(value)!r}")  # noqa: TRY004 - as for a wrong text
    return value


def purchase_id(value: object) -> str:
    """Return the id of a purchase (an Int64) as text.

    :raises ValueError: it is not an id.
    """
    number = whole_number(value)
    if not 0 < number <= _LARGEST_ID:
        raise ValueError(f"not an id: {visible(value)!r}")
    return str(number)


def token(value: object) -> str:
    """Return the content of a QR, or a link.

    :raises ValueError: it is not a printable text.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TOKEN or not value.isprintable():
        raise ValueError("not a token")
    return value


def seconds(timers: object, name: str, usual: int) -> int:
    """Return one of Kaspi's timers; ``usual`` if Kaspi does not report it."""
    value = timers.get(name) if isinstance(timers, Mapping) else None
    try:
        number = whole_number(value)
        if 0 < number <= _LONGEST_TIMER_S:
            return number
    except ValueError:
        pass
    log.warning("Kaspi reports %s as %r: %s s are used", name, visible(value), usual)
    return usual


def word(value: object) -> str | None:
    """Return a status or an operation number; ``None`` if it is not a word or number that can be stored."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable() and value.strip():
        return value
    if value is not None:
        log.warning("Kaspi reports the unreadable text %r", visible(value))
    return None


def tenge(value: object) -> Money:
    """Return an amount in tenge: a JSON number, or the same as text.

    :raises InvalidAmount: it is not an amount.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidAmount(N_("%(visible)s is not an amount of money", visible=repr(visible(value))))
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
        raise InvalidAmount(N_("%(visible)s is not an amount of money", visible=repr(visible(value))))
    return Money(Decimal(value), Currency.KZT)


def items(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the objects of an answer that is a list."""
    listed = data.get("items")
    return [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []


def parse_date(text: str) -> datetime:
    """Parse a Kaspi date to an aware datetime in UTC. It may have a short offset, an unpadded day and seven
    digits of fraction; without an offset it is Almaty time.

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
    zone: tzinfo = ALMATY
    if sign is not None:
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes or 0))
        zone = timezone(offset if sign == "+" else -offset)
    try:
        return naive.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:  # in the first or the last hours of the calendar
        raise ValueError(f"not a Kaspi date: {text[:40]!r}") from None


def read_date(text: object) -> datetime | None:
    """Parse a time; ``None`` if it cannot be read.

    An expiry time is only recorded: Kaspi's timers and our own clock decide what has expired, so that
    different clocks or time zones cannot end a payment early.
    """
    try:
        return parse_date(str(text))
    except ValueError:
        log.warning("Kaspi reports the unreadable date %r", visible(text)[:40])
        return None


def amount_number(amount: Decimal) -> Decimal:
    """Return an amount in tenge as Kaspi expects it: a JSON number with two decimals."""
    return amount.quantize(Decimal("0.01"))
