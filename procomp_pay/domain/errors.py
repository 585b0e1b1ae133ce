"""The error classes.

Each class has the HTTP status of the API's response and the exit code of the command. The message is shown to
the user. ``cli`` and ``server`` each have one place that turns errors into output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from procomp_pay.domain.text import N_


class ErrorCode(StrEnum):
    """The ``code`` of an error in the API, by which clients tell errors apart: never renamed.

    docs/api.md says what each means. The classes below have one each; where a caller has to tell two errors
    of a class apart, ``code`` names a finer one.
    """

    REFUSED = "refused"
    INVALID_REQUEST = "invalid_request"
    INVALID_AMOUNT = "invalid_amount"
    AMOUNT_MISMATCH = "amount_mismatch"
    FEE_MISSING = "fee_missing"
    CURRENCY_MISMATCH = "currency_mismatch"
    REFUND_TOO_LARGE = "refund_too_large"
    PROVIDER_REFUSED = "provider_refused"
    INVALID_SIGNATURE = "invalid_signature"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    PARTICIPANT_NOT_FOUND = "participant_not_found"
    PAYMENT_NOT_FOUND = "payment_not_found"
    NO_PAYMENT = "no_payment"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    CONFLICT = "conflict"
    ALREADY_PAID = "already_paid"
    ALREADY_REFUNDED = "already_refunded"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    PAYMENT_IN_PROGRESS = "payment_in_progress"
    PAYMENT_ENDED = "payment_ended"
    PAYMENT_NOT_COMPLETED = "payment_not_completed"
    PAYMENT_DISPUTED = "payment_disputed"
    REFUND_IN_PROGRESS = "refund_in_progress"
    REGISTRATION_CANCELLED = "registration_cancelled"
    REGISTRATION_STATUS_UNKNOWN = "registration_status_unknown"
    TOURNAMENT_ARCHIVED = "tournament_archived"
    OPERATION_NUMBER_USED = "operation_number_used"
    MANUAL_REVIEW_REQUIRED = "manual_review_required"
    BODY_TOO_LARGE = "body_too_large"
    URI_TOO_LONG = "uri_too_long"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    TOO_MANY_REQUESTS = "too_many_requests"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    DATABASE_UNAVAILABLE = "database_unavailable"
    NOT_SET_UP = "not_set_up"


class PaymentError(Exception):
    """The base class. Raised itself only for a bug.

    :param message: what happened and why.
    :param next_step: the command to type or the action to take next.
    :param retry_after: seconds to wait before another try.
    :param code: a finer code than that of the class.
    """

    http_status = 500
    exit_code = 1
    code = ErrorCode.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        next_step: str | None = None,
        retry_after: int | None = None,
        code: ErrorCode | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.message = message
        self.next_step = next_step
        self.retry_after = retry_after


class Refused(PaymentError):
    """The request breaks a rule."""

    http_status = 400
    exit_code = 3
    code = ErrorCode.REFUSED


class InvalidRequest(Refused):
    """The API's request itself is wrong: its JSON, a field, a parameter or a header."""

    code = ErrorCode.INVALID_REQUEST


class InvalidAmount(Refused):
    """The amount or its currency is not accepted."""

    code = ErrorCode.INVALID_AMOUNT


class BadSignature(Refused):
    """The signature does not match: nothing of the request is stored."""

    code = ErrorCode.INVALID_SIGNATURE


class InvalidFile(Refused):
    """A CSV or XLSX file that cannot be read for certain: none of it is used.

    :param line: the 1-based line (CSV) or row (XLSX), if known.
    """

    def __init__(self, message: str, *, next_step: str | None = None, line: int | None = None) -> None:
        at_line = message if line is None else N_("Line %(line)s: %(what)s", line=line, what=message)
        super().__init__(at_line, next_step=next_step)
        self.line = line


class InvalidStatement(InvalidFile):
    """A statement, or the mapping for it, that cannot be read for certain: none of it is used."""


class Conflict(Refused):
    """The request contradicts the current state."""

    http_status = 409
    code = ErrorCode.CONFLICT


class AlreadyPaid(Conflict):
    """The participant's fee is already paid."""

    code = ErrorCode.ALREADY_PAID


class NotFound(PaymentError):
    """The participant, payment, tournament or purchase does not exist."""

    http_status = 404
    exit_code = 4
    code = ErrorCode.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several things that a name may mean.

    :param facts: what tells it from the others, such as category, tournament and state; ``""`` for none.
    """

    id: str
    name: str
    facts: tuple[str, ...]


class Ambiguous(PaymentError):
    """A name may mean several things, or is too short to be sure.

    :param choices: what it may mean, the best match first.
    """

    http_status = 409
    exit_code = 2
    code = ErrorCode.CONFLICT

    def __init__(self, message: str, choices: Sequence[Choice] = (), *, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.choices = choices


class Unavailable(PaymentError):
    """A provider or the database does not respond. Nothing is lost; try again."""

    http_status = 503
    exit_code = 5
    code = ErrorCode.UNAVAILABLE


class ProviderUnavailable(Unavailable):
    """The provider could not be reached or was too busy; the request had no effect there."""

    code = ErrorCode.PROVIDER_UNAVAILABLE


class OutcomeUnknown(Unavailable):
    """The request was sent and no response was seen: it may or may not have taken effect."""

    code = ErrorCode.OUTCOME_UNKNOWN


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or is not set up."""

    code = ErrorCode.DATABASE_UNAVAILABLE


def fault_of(error: Exception) -> dict[str, str]:
    """Return the field of a log line by which the server tells lines about the same outage: of those it
    writes one a minute. Empty for other errors, and where each line tells of another payment."""
    if isinstance(error, Unavailable) and not isinstance(error, OutcomeUnknown | RetryLater):
        return {"fault": error.message}
    return {}


class RetryLater(Unavailable):
    """The event arrived before one that it depends on; the same event can be applied later."""


class ManualReviewRequired(PaymentError):
    """Manual review is required first."""

    http_status = 409
    exit_code = 6
    code = ErrorCode.MANUAL_REVIEW_REQUIRED


class ConfigurationError(PaymentError):
    """A setting is missing or wrong. API clients cannot fix it and get 503."""

    http_status = 503
    exit_code = 7
    code = ErrorCode.NOT_SET_UP


class Unauthorized(PaymentError):
    """The token is missing or invalid."""

    http_status = 401
    exit_code = 3
    code = ErrorCode.UNAUTHORIZED


class Forbidden(PaymentError):
    """Authenticated but not allowed."""

    http_status = 403
    exit_code = 3
    code = ErrorCode.FORBIDDEN
