"""Kaspi's wire format: dates in every known form, codes with their messages, invalid answers."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
    Unavailable,
)
from procomp_pay.providers.kaspi.wire import CODES, error_for, parse_date, read_envelope

#: Every StatusCode that the document names.
DOCUMENTED = {
    -999, -10000, -1401, -1404, -1501, -1502, -1503, -1601, -14000002, -99000001, -99000002, -99000003,
    -99000005, -99000006, -99000011, -99000020, 990000018, 990000026, 990000028, 990000033,
    99000010, 990000029, 990000031, 990000032,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2020-01-16T10:30:00+06", datetime(2020, 1, 16, 4, 30, tzinfo=UTC)),
        ("2020-01-16T10:30:00+06:00", datetime(2020, 1, 16, 4, 30, tzinfo=UTC)),
        ("2021-11-3T11:55:14.166+06:00", datetime(2021, 11, 3, 5, 55, 14, 166000, tzinfo=UTC)),
        # no zone is Almaty time: +06 until 2024, +05 since
        ("2021-12-08T11:35:48.1566667", datetime(2021, 12, 8, 5, 35, 48, 156666, tzinfo=UTC)),
        ("2025-10-22T17:10:50", datetime(2025, 10, 22, 12, 10, 50, tzinfo=UTC)),
        ("2025-10-22T17:10:50.717+05:00", datetime(2025, 10, 22, 12, 10, 50, 717000, tzinfo=UTC)),
        ("2025-10-22T12:10:50Z", datetime(2025, 10, 22, 12, 10, 50, tzinfo=UTC)),
    ],
)
def test_parse_dates(text: str, utc: datetime) -> None:
    assert parse_date(text) == utc


@pytest.mark.parametrize("text", ["", "2020-01-16", "16.01.2020 10:30", "2020-13-01T00:00:00", "x" * 500])
def test_invalid_dates_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|month"):
        parse_date(text)


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_a_value_error(text: str) -> None:
    try:
        assert parse_date(text).tzinfo is not None
    except ValueError:
        return


def test_every_documented_code_has_an_error_and_a_message() -> None:
    assert set(CODES) == DOCUMENTED
    for code, meaning in CODES.items():
        error = error_for(code, "whatever")
        assert isinstance(error, ConfigurationError | Refused | NotFound | Unavailable)
        assert str(code) in error.message
        assert error.next_step == meaning.do


@given(st.integers().filter(lambda code: code not in CODES and code != 0))
def test_an_unknown_code_is_a_rejection(code: int) -> None:
    body = b'{"StatusCode": %d, "Message": "new"}' % code
    with pytest.raises(Refused, match=str(code)):
        read_envelope(200, body, None)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>gateway</html>", OutcomeUnknown),
        (200, b"", OutcomeUnknown),
        (200, b"[]", OutcomeUnknown),
        (200, b'{"Data": {}}', OutcomeUnknown),
        (500, b'{"StatusCode": 0, "Data": {}}', OutcomeUnknown),
        (502, b"bad gateway", OutcomeUnknown),
        (400, b'{"Message": "X-Request-ID is required"}', Refused),
        (401, b"", ConfigurationError),
        (429, b"", ProviderUnavailable),
        (503, b"", ProviderUnavailable),
    ],
)
def test_invalid_answers(status: int, body: bytes, kind: type[PaymentError]) -> None:
    with pytest.raises(kind):
        read_envelope(status, body, None)


def test_amounts_are_decimals() -> None:
    data = read_envelope(200, b'{"StatusCode": 0, "Data": {"Amount": 200.10}}', None)
    assert data["Amount"] == Decimal("200.10")


def test_retry_after_is_preserved() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read_envelope(429, b"", "7")
    assert caught.value.retry_after == 7
