"""What a verification brings and answers; the models are the API's documentation too."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from procomp_pay.domain.money import Currency, Money
from procomp_pay.payments.verify import Verified, VerifyOrder
from procomp_pay.server.bodies import exact

_TENGE = Currency.KZT.value


def _instant(value: object) -> object:
    """A time with its zone; a time without one could be Almaty's or Greenwich's."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
        if when is not None and when.tzinfo is not None:
            return when.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-01-15T14:00:00+05:00")


class VerifyBody(BaseModel):
    """``POST /admin/payments/{payment_id}/verify-kaspi``. ``override`` is for admins, with a ``reason``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    transaction_id: Annotated[str, Field(min_length=1, max_length=64)]
    amount: Annotated[Decimal | None, BeforeValidator(exact)] = None
    paid_at: Annotated[datetime | None, BeforeValidator(lambda v: None if v is None else _instant(v))] = None
    override: bool = False
    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None

    def order(self, payment_id: str, idempotency_key: str | None) -> VerifyOrder:
        """What the use case takes; Kaspi counts in tenge.

        :raises InvalidAmount: not an amount that we take.
        """
        return VerifyOrder(
            payment_id=payment_id,
            number=self.transaction_id,
            money=None if self.amount is None else Money.parse(self.amount, _TENGE),
            paid_at=self.paid_at,
            override=self.override,
            reason=self.reason,
            idempotency_key=idempotency_key,
        )


class VerifyAnswer(BaseModel):
    """How the payment stands. ``already``: it was so before; ``kaspi``: what Kaspi said when it was asked."""

    payment_id: str
    status: str
    transaction_id: str
    amount: Decimal
    currency: str
    already: bool
    late: bool
    duplicate: bool
    kaspi: str
    overridden: list[str]

    @classmethod
    def of(cls, done: Verified) -> VerifyAnswer:
        """The answer for what the use case did."""
        return cls(
            payment_id=done.payment_id,
            status=done.status.value,
            transaction_id=done.number,
            amount=done.money.amount,
            currency=done.money.currency.value,
            already=done.already,
            late=done.late,
            duplicate=done.duplicate,
            kaspi=done.kaspi.value,
            overridden=list(done.overridden),
        )
