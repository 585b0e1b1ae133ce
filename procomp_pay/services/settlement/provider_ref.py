"""Return a payment's reference at its provider; how long Stripe takes a repeated request as the same."""

from __future__ import annotations

from datetime import timedelta

from procomp_pay.domain.states import CreateState
from procomp_pay.providers.protocol import ProviderRef
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: The provider's object is not known to exist.
UNOPENED = (CreateState.PLANNED, CreateState.SENT)
#: Stripe keeps an idempotency key for at least 24 hours; after that the same request creates a second object.
RESEND_WITHIN = timedelta(hours=23)


def provider_ref_of(locked: OrmLockedPayment) -> ProviderRef:
    """Return the reference to the provider's object of a payment whose ``create_state`` is OPEN."""
    detail = locked.detail
    if detail.provider_ref is None:
        raise AssertionError(f"payment {locked.payment.id} is not open at its provider")
    payment = locked.payment
    return ProviderRef(detail.channel, detail.provider_ref, payment.stripe_payment_id, payment.id)
