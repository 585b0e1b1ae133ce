"""The error classes.

Each class has the HTTP status of the API's response and the exit code of the command. The message is shown to
the user. ``cli`` and ``server`` each have one place that turns errors into output.
"""

from __future__ import annotations


class PaymentError(Exception):
    """The base class. Raised itself only for a bug.

    :param message: what happened and why.
    :param next_step: the command to type or the action to take next.
    :param retry_after: seconds to wait before another try.
    """

    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, next_step: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.retry_after = retry_after


class Refused(PaymentError):
    """The request breaks a rule."""

    http_status = 400
    exit_code = 3


class InvalidAmount(Refused):
    """The amount or its currency is not accepted."""


class BadSignature(Refused):
    """The signature does not match: nothing of the request is stored."""


class InvalidFile(Refused):
    """A CSV or XLSX file that cannot be read for certain: none of it is used.

    :param line: the 1-based line (CSV) or row (XLSX), if known.
    :param column: the header of the column, if known.
    """

    def __init__(
        self,
        message: str,
        *,
        next_step: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        position = [f"line {line}"] if line is not None else []
        position += [f"column “{column}”"] if column is not None else []
        text = f"{', '.join(position)}: {message}" if position else message
        super().__init__(text[:1].upper() + text[1:], next_step=next_step)
        self.line = line
        self.column = column


class InvalidStatement(InvalidFile):
    """A statement, or the mapping for it, that cannot be read for certain: none of it is used."""


class Conflict(Refused):
    """The request contradicts the current state."""

    http_status = 409


class AlreadyPaid(Conflict):
    """The participant's fee is already paid."""


class NotFound(PaymentError):
    """The participant, payment, tournament or purchase does not exist."""

    http_status = 404
    exit_code = 4


class Unavailable(PaymentError):
    """A provider or the database does not respond. Nothing is lost; try again."""

    http_status = 503
    exit_code = 5


class ProviderUnavailable(Unavailable):
    """The provider could not be reached or was too busy; the request had no effect there."""


class OutcomeUnknown(Unavailable):
    """The request was sent and no response was seen: it may or may not have taken effect."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or is not set up."""


class RetryLater(Unavailable):
    """The event arrived before one that it depends on; the same event can be applied later."""


class ManualReviewRequired(PaymentError):
    """Manual review is required first."""

    http_status = 409
    exit_code = 6


class ConfigurationError(PaymentError):
    """A setting is missing or wrong. API clients cannot fix it and get 503."""

    http_status = 503
    exit_code = 7


class Unauthorized(PaymentError):
    """The token is missing or invalid."""

    http_status = 401
    exit_code = 3


class Forbidden(PaymentError):
    """Authenticated but not allowed."""

    http_status = 403
    exit_code = 3
