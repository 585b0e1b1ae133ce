"""Kaspi's wire format: dates in every known form, codes with their messages, invalid answers."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.errors import (
    ConfigurationError,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.providers.kaspi.wire import CODES, parse_date, read_envelope


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


@given(st.integers().filter(lambda code: code != 0 and not {code, -code} & CODES.keys()))
def test_an_unknown_code_is_a_rejection_with_kaspis_message(code: int) -> None:
    body = f'{{"StatusCode": {code}, "Message": "Что-то новое", "Data": {{"QrPaymentId": 1}}}}'
    with pytest.raises(Refused, match=f"code {code}: Что-то новое"):
        read_envelope(200, body.encode(), None)


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
