"""Every StatusCode has an error class, a message and a next step."""

from __future__ import annotations

import pytest

from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.providers.kaspi.wire import CODES, error_for

#: Of the document's calls and its appendix 3.
KINDS: dict[int, type[PaymentError]] = {
    -999: ProviderUnavailable,
    -10000: ConfigurationError,
    -1401: NotFound,
    -1404: NotFound,
    -1501: ConfigurationError,
    -1502: ConfigurationError,
    -1503: ConfigurationError,
    -1601: NotFound,
    -14000002: ConfigurationError,
    -99000001: NotFound,
    -99000002: ConfigurationError,
    -99000003: Refused,
    -99000005: Refused,
    -99000006: OutcomeUnknown,
    -99000011: Refused,
    -99000020: Refused,
    99000010: Refused,
    990000018: ConfigurationError,
    990000026: ConfigurationError,
    990000028: Refused,
    990000029: Refused,
    990000031: Refused,
    990000032: Refused,
    990000033: ConfigurationError,
}
EXITS = {ConfigurationError: 7, NotFound: 4, Refused: 3, ProviderUnavailable: 5, OutcomeUnknown: 5}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_error_and_message_of_a_code(code: int, kind: type[PaymentError]) -> None:
    error = error_for(code, "текст")
    assert isinstance(error, kind)
    assert error.exit_code == EXITS[kind]
    assert len(error.message) > 20
    assert str(code) in error.message
    assert error.next_step == CODES[code].do


def test_all_codes_are_tested() -> None:
    assert set(CODES) == set(KINDS)
