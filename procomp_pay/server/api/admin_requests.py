"""Requests of staff and admins: the filters of the list, the body of a refund."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from aiohttp import web
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
)

from procomp_pay.domain.errors import InvalidRequest
from procomp_pay.domain.identifiers import LONGEST_ID
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.server.api.requests import both_or_none, identifier, problems
from procomp_pay.server.http.json_types import RequestAmount, RequestCurrency, RequestModel, example
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.storage.database.keyset_cursor import MOST
from procomp_pay.storage.payments.listing import Filter

_LONGEST_CURSOR = 400


def _one_of(values: type[PaymentStatus] | type[PaymentMethod]) -> Callable[[object], object]:
    def read(value: object) -> object:
        try:
            return values(str(value).upper())
        except ValueError:
            raise ValueError(f"is one of {', '.join(member.lower() for member in values)}") from None

    return read


def _instant(value: object) -> object:
    try:
        time = datetime.fromisoformat(str(value))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-01-15T14:00:00Z (a + is %2B)")


def _limit(value: object) -> object:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise ValueError(f"must be 1 to {MOST}")
    return int(text)


_Id = Annotated[
    Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(identifier)] | None, Field()
]
_Time = Annotated[
    datetime | None,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-15T14:00:00Z"]}),
]


class ListQuery(RequestModel):
    """The filters of the list; ``since`` is inclusive, ``until`` is exclusive.

    Enums are accepted in upper and lower case; the document lists one, or clients get each value twice.
    """

    status: Annotated[
        PaymentStatus | None,
        BeforeValidator(_one_of(PaymentStatus)),
        WithJsonSchema({"type": "string", "enum": [*PaymentStatus]}),
    ] = None
    method: Annotated[
        PaymentMethod | None,
        BeforeValidator(_one_of(PaymentMethod)),
        WithJsonSchema({"type": "string", "enum": [method.public_name for method in PaymentMethod]}),
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

    def to_filter(self) -> Filter:
        """Return the filter of the use case."""
        return Filter(
            participant_id=self.participant_id,
            status=self.status,
            method=self.method,
            tournament_id=self.tournament_id,
            since=self.since,
            until=self.until,
        )


class RefundBody(RequestModel):
    """Without an amount, everything not yet refunded is refunded. ``force``: despite an open dispute."""

    model_config = example(
        {"reason": "second category", "amount": Decimal("20.00"), "currency": "USD"},
        {"reason": "injured"},
    )

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    amount: RequestAmount = None
    currency: RequestCurrency = None
    force: bool = False

    def to_command(self, payment_id: str, idempotency_key: str | None) -> RefundCommand:
        """Return the request of the use case.

        :raises InvalidRequest: an amount without a currency, or the reverse.
        :raises InvalidAmount: not a valid amount.
        """
        return RefundCommand(
            payment_id=payment_id,
            reason=self.reason,
            money=both_or_none(self.amount, self.currency, otherwise="refund everything that is left"),
            idempotency_key=idempotency_key,
            force=self.force,
        )


class Nothing(RequestModel):
    """An empty JSON object."""


def read_query(request: web.Request) -> ListQuery:
    """Return the query of the list.

    :raises InvalidRequest: an unknown or repeated parameter, or an invalid value.
    """
    try:
        return ListQuery.model_validate(_once(request))
    except ValidationError as error:
        raise InvalidRequest(problems(error)) from None


def no_query(request: web.Request) -> None:
    """
    :raises InvalidRequest: any query parameter: a misplaced one must not change what happens to money.
    """
    if request.query:
        raise InvalidRequest("This address has no query parameters; put them into the body")


def _once(request: web.Request) -> dict[str, str]:
    if len(set(request.query)) != len(request.query):
        raise InvalidRequest("A parameter may be given only once")
    return dict(request.query)
