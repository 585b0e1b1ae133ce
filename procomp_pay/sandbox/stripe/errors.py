"""Stripe's error bodies as one exception.

Source: https://docs.stripe.com/api/errors and https://docs.stripe.com/error-codes.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """An answer other than 2xx, in Stripe's shape.

    `executed` tells whether the endpoint had begun its work: only then is the answer kept under the
    request's idempotency key and replayed.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002 - the field's own name
        executed: bool = True,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        body = {"message": message, "type": type, **fields}
        self.fields = {name: value for name, value in sorted(body.items()) if value is not None}

    def body(self) -> Json:
        """Return the JSON document of the answer."""
        return {"error": self.fields}


def invalid_param(message: str, param: str, code: str | None = None) -> StripeError:
    """Return the error for an invalid parameter; nothing has run, so no idempotency key is used up."""
    return StripeError(message, code=code, param=param, executed=False)


def missing_object(noun: str, wanted: str, param: str = "id", *, status: int = 404) -> StripeError:
    """Return 404 `resource_missing`, as for an unknown id."""
    return StripeError(f"No such {noun}: '{wanted}'", status=status, code="resource_missing", param=param)


def bad_key(message: str) -> StripeError:
    """Return 401 for a missing or wrong API key."""
    return StripeError(message, status=401, executed=False)


def unknown_route(method: str, path: str) -> StripeError:
    """Return 404 for a path that the API (or this sandbox) does not have."""
    text = f"Unrecognized request URL ({method}: {path}). The sandbox has no such endpoint."
    return StripeError(text, status=404, executed=False)


def unexpected_state(intent: Json, verb: str, allowed: tuple[str, ...]) -> StripeError:
    """Return 400 `payment_intent_unexpected_state`, with the intent itself as Stripe sends it."""
    text = (
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. "
        f"Only a PaymentIntent with one of the following statuses may be used: {', '.join(allowed)}."
    )
    return StripeError(text, code="payment_intent_unexpected_state", payment_intent=intent)
