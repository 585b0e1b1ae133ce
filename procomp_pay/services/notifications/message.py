"""The payment and recipient of a message, as composing e-mails and alerts needs them."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.services.views.payment import PaymentView


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The context of a message: its payment in the current state, and the recipient.

    :param settled_by: id of the payment that settles the participant's fee now.
    :param language: preferred language of the participant; ``None`` for the default.
    """

    view: PaymentView
    email: str | None = None
    settled_by: str | None = None
    language: str | None = None
