"""Errors in the clerk's language: in short for the desk's screen, in full for the commands."""

from __future__ import annotations

from procomp_pay.cli.framework.language import _, language, translated
from procomp_pay.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ErrorCode,
    OutcomeUnknown,
    PaymentError,
    RetryLater,
    Unavailable,
)
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_, Text

_ERRORS = {
    ErrorCode.ALREADY_PAID: N_("The fee is already paid."),
    ErrorCode.ALREADY_REFUNDED: N_("Nothing is left to refund, or a refund is on its way."),
    ErrorCode.PAYMENT_IN_PROGRESS: N_("The customer is paying at this moment. Wait a minute."),
    ErrorCode.PAYMENT_ENDED: N_("This payment has ended. Start a new one."),
    ErrorCode.PAYMENT_NOT_COMPLETED: N_("Only a paid payment can be refunded."),
    ErrorCode.PAYMENT_DISPUTED: N_("The customer disputes it at the bank: do not refund it."),
    ErrorCode.REFUND_IN_PROGRESS: N_("Another refund of this payment is on its way. Wait for it."),
    ErrorCode.REFUND_TOO_LARGE: N_("This is more than what is left of the payment."),
    ErrorCode.REGISTRATION_CANCELLED: N_("The registration is cancelled: call the administrator."),
    ErrorCode.OPERATION_NUMBER_USED: N_(
        "Refused: this receipt belongs to another payment. Ask for the right one."
    ),
    ErrorCode.MANUAL_REVIEW_REQUIRED: N_("Another amount came for this person. Call the administrator."),
    ErrorCode.FEE_MISSING: N_("The tournament has no fee for this way to pay. Call the administrator."),
    ErrorCode.INVALID_AMOUNT: N_("This is not an amount. Write it as 50.00"),
    ErrorCode.CURRENCY_MISMATCH: N_("The fee has another currency. Call the administrator."),
    ErrorCode.PROVIDER_REFUSED: N_(
        "Refused by the provider. Try another way to pay, or call the administrator."
    ),
    ErrorCode.PARTICIPANT_NOT_FOUND: N_("This person is no longer registered."),
    ErrorCode.PAYMENT_NOT_FOUND: N_("There is no such payment."),
    ErrorCode.NOT_FOUND: N_("There is no such payment."),
}
_OTHER = N_("Refused. Call the administrator.")
#: By class, the finer ones first.
_KINDS = (
    (DatabaseUnavailable, N_("The database does not answer. Nothing is lost; trying again.")),
    (RetryLater, N_("This payment is being opened at this moment, maybe at the other desk.")),
    (OutcomeUnknown, N_("No answer came. Nothing is lost; it is checked.")),
    (Unavailable, N_("The provider cannot be reached. Nothing is lost; trying again.")),
    (ConfigurationError, N_("This way to pay is not set up here. Call the administrator.")),
)
#: In front of an error's English details, for a clerk who reads another language.
_NOT_FOR_CLERKS = (
    (DatabaseUnavailable, N_("The database does not answer. Nothing is lost.")),
    (ConfigurationError, N_("Something is not set up here. Call the administrator.")),
)


def explain(error: PaymentError) -> str:
    """Return what happened and what to do, in words that need no command."""
    for kind, text in _KINDS:
        if isinstance(error, kind):
            return _(text)
    if error.code not in _ERRORS and isinstance(error.message, Text):
        return translated(error.message) + "."
    return _(_ERRORS.get(error.code, _OTHER))


def in_full(error: PaymentError) -> str:
    """Return what happened with its details, for a command; what has no translation in English."""
    if isinstance(error.message, Text) or language() is Language.ENGLISH:
        return translated(error.message)
    kind = next((_(text) for kind, text in _NOT_FOR_CLERKS if isinstance(error, kind)), "")
    return f"{kind} ({error.message})" if kind else error.message
