"""What can go wrong, as one small tree.

Each class has the HTTP status that the API answers, the exit code that the terminal ends with, and takes
a sentence for a person. ``cli`` and ``server`` each have one place that turns these into output.
"""

from __future__ import annotations


class PaymentError(Exception):
    """The root. Raised itself only for a bug of ours.

    :param message: what happened and why, for a person.
    :param next_step: the next command or action, for a person at a terminal.
    :param retry_after: seconds after which it is worth trying again.
    """

    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, next_step: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.retry_after = retry_after


class Refused(PaymentError):
    """A rule says no."""

    http_status = 400
    exit_code = 3


class InvalidAmount(Refused):
    """Not an amount of money that we take."""


class BadSignature(Refused):
    """What came in is not signed by who it says: nothing of it is kept."""


class InvalidFile(Refused):
    """A CSV or XLSX file that cannot be read for certain: none of it is used.

    :param line: where it stands: the 1-based line (CSV) or row (XLSX), where one can be named.
    :param column: the head of the column, where one can be named.
    """

    def __init__(
        self,
        message: str,
        *,
        next_step: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        place = [f"line {line}"] if line is not None else []
        place += [f"column “{column}”"] if column is not None else []
        said = f"{', '.join(place)}: {message}" if place else message
        super().__init__(said[:1].upper() + said[1:], next_step=next_step)
        self.line = line
        self.column = column


class InvalidStatement(InvalidFile):
    """A statement, or the mapping for it, that cannot be read for certain: none of it is used."""


class Conflict(Refused):
    """It contradicts what already happened."""

    http_status = 409


class AlreadyPaid(Conflict):
    """The participant's fee is settled."""


class NotFound(PaymentError):
    """No such participant, payment, tournament or purchase."""

    http_status = 404
    exit_code = 4


class Unavailable(PaymentError):
    """A provider or the database does not answer: nothing is lost, try again."""

    http_status = 503
    exit_code = 5


class ProviderUnavailable(Unavailable):
    """The provider could not be reached, or was too busy; the request did no work there."""


class OutcomeUnknown(Unavailable):
    """The request was sent and no answer was seen: it may or may not have done its work."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or is not set up."""


class RetryLater(Unavailable):
    """It came before what it builds on; the same thing works a little later."""


class ManualReviewRequired(PaymentError):
    """Something stays open until a person decides."""

    http_status = 409
    exit_code = 6


class ConfigurationError(PaymentError):
    """A setting is missing or wrong. The API's client cannot mend it and is told 503."""

    http_status = 503
    exit_code = 7


class Unauthorized(PaymentError):
    """No token, or one that does not hold."""

    http_status = 401
    exit_code = 3


class Forbidden(PaymentError):
    """Known, but it is not theirs."""

    http_status = 403
    exit_code = 3
