"""What a message is about, as the composers of e-mails and webhooks need it."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.services.views.payment import PaymentView


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The context of a message: its payment in the present state, and the recipient.

    :param settled_by: the payment that settles the participant's fee now.
    """

    view: PaymentView
    email: str | None = None
    settled_by: str | None = None
    language: str | None = None
