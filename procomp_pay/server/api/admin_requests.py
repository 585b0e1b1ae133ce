"""What the admin's requests bring: the filters of a list, the body of a refund."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from aiohttp import web
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
)

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.identifiers import LONGEST_ID
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.server.api.requests import both_or_none, identifier, problems
from procomp_pay.server.http.json_types import RequestAmount, RequestCurrency, RequestModel, example
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.storage.payments.listing import MOST, Filter

_LONGEST_CURSOR = 400


def _one_of(words: type[PaymentStatus] | type[PaymentMethod]) -> Callable[[object], object]:
    def read(value: object) -> object:
        try:
            return words(str(value).upper())
        except ValueError:
            raise ValueError(f"is one of {', '.join(word.lower() for word in words)}") from None

    return read


def _instant(value: object) -> object:
    try:
        when = datetime.fromisoformat(str(value))
        if when.tzinfo is not None:
            return when.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-01-15T14:00:00Z (a + is %2B)")


def _limit(value: object) -> object:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise ValueError(f"must be 1 to {MOST}")
    return int(text)


def _words(words: type[PaymentStatus] | type[PaymentMethod]) -> dict[str, Any]:
    """In capitals or not, as the seed writes both."""
    return {"type": "string", "enum": [*(word.value for word in words), *(word.lower() for word in words)]}


_Id = Annotated[
    Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(identifier)] | None, Field()
]
_Time = Annotated[
    datetime | None,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-15T14:00:00Z"]}),
]


class ListQuery(RequestModel):
    """``since`` is included, ``until`` is not."""

    status: Annotated[
        PaymentStatus | None, BeforeValidator(_one_of(PaymentStatus)), WithJsonSchema(_words(PaymentStatus))
    ] = None
    method: Annotated[
        PaymentMethod | None, BeforeValidator(_one_of(PaymentMethod)), WithJsonSchema(_words(PaymentMethod))
    ] = None
    tournament_id: _Id = None
    participant_id: _Id = None
    since: _Time = None
    until: _Time = None
    cursor: Annotated[str | None, Field(min_length=1, max_length=_LONGEST_CURSOR)] = None
    limit: Annotated[
        int,
        BeforeValidator(_limit),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST}),
    ] = 50

    def wanted(self) -> Filter:
        """Return the request of the use case."""
        return Filter(
            participant_id=self.participant_id,
            status=self.status,
            method=self.method,
            tournament_id=self.tournament_id,
            since=self.since,
            until=self.until,
        )


class RefundBody(RequestModel):
    """Without an amount the whole rest goes back. ``force``: in spite of a dispute."""

    model_config = example(
        {"reason": "second category", "amount": Decimal("20.00"), "currency": "USD"},
        {"reason": "injured"},
    )

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    amount: RequestAmount = None
    currency: RequestCurrency = None
    force: bool = False

    def order(self, payment_id: str, idempotency_key: str | None) -> RefundCommand:
        """Return the request of the use case.

        :raises Refused: half of an amount. :raises InvalidAmount: not an amount that we take.
        """
        return RefundCommand(
            payment_id=payment_id,
            reason=self.reason,
            money=both_or_none(self.amount, self.currency, otherwise="give the whole rest back"),
            idempotency_key=idempotency_key,
            force=self.force,
        )


class Nothing(RequestModel):
    """A body with nothing in it."""


def read_query(request: web.Request) -> ListQuery:
    """
    :raises Refused: an unknown parameter, one twice, or a value that does not fit.
    """
    try:
        return ListQuery.model_validate(_once(request))
    except ValidationError as error:
        raise Refused(problems(error)) from None


def no_query(request: web.Request) -> None:
    """
    :raises Refused: any parameter: one that is misread must not change what happens to money.
    """
    if request.query:
        raise Refused("This address takes no parameters; what is asked for stands in the body")


def _once(request: web.Request) -> dict[str, str]:
    if len(set(request.query)) != len(request.query):
        raise Refused("Each parameter is given once")
    return dict(request.query)
