"""Types that requests, responses and the OpenAPI document share."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from procomp_pay.domain.money import LARGEST
from procomp_pay.domain.redact import LONGEST_TEXT
from procomp_pay.domain.states import PaymentStatus


def exact(value: object) -> object:
    """Convert a whole JSON number to Decimal; others are Decimal already.

    :raises ValueError: it is neither a number nor null.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | None):
        raise ValueError("must be a JSON number such as 50.00, not a text or anything else")  # noqa: TRY004
    return Decimal(value) if isinstance(value, int) else value


def exact_only(value: object) -> Decimal:
    """Return a response's amount unchanged.

    :raises ValueError: it is not a Decimal, but a float, say.
    """
    if not isinstance(value, Decimal):
        raise ValueError("an amount is a Decimal")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def whole_seconds(value: object) -> object:
    """Cut the fraction of a second off a time: clients parse one form, and compare it with the column."""
    if isinstance(value, str) and value[_SECONDS : _SECONDS + 1] == ".":
        return f"{value[:_SECONDS]}Z"
    return value


def cut(value: object) -> object:
    """Cut a text to the longest that an answer has."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


#: The length of a time up to its seconds.
_SECONDS = len("2024-01-15T14:00:00")
_NUMBER: dict[str, Any] = {"type": "number", "examples": [Decimal("50.00")]}
_PAID: dict[str, Any] = _NUMBER | {"exclusiveMinimum": 0, "maximum": LARGEST}

#: The amount of a request: a positive number with at most two decimals, or ``null``.
RequestAmount = Annotated[
    Decimal | None,
    BeforeValidator(exact),
    WithJsonSchema({"anyOf": [_PAID, {"type": "null"}], "description": "At most two decimals."}),
]
#: The currency of a request, in upper or lower case.
RequestCurrency = Annotated[str | None, Field(pattern=r"^[A-Za-z]{3}$", examples=["USD"])]
#: The amount of a response: an exact JSON number, never a float.
Amount = Annotated[Decimal, BeforeValidator(exact_only), WithJsonSchema(_NUMBER)]
#: The time of a response: UTC in whole seconds, ``2024-01-15T14:00:00Z``; a fraction is cut off.
Instant = Annotated[
    str,
    BeforeValidator(whole_seconds),
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
        examples=["2024-01-15T14:00:00Z"],
        json_schema_extra={"format": "date-time"},
    ),
]
#: Why something failed. Longer texts, which earlier versions stored, are cut.
Reason = Annotated[str, BeforeValidator(cut), Field(max_length=LONGEST_TEXT)] | None
Method = Literal["kaspi_qr", "apple_pay", "google_pay"]
_MORE = "The platform may have added others, which are shown as they are."
ShownMethod = Annotated[Method | str, Field(description=_MORE)]
ShownStatus = Annotated[PaymentStatus | str, Field(description=_MORE)]


def example(*documents: dict[str, Any]) -> ConfigDict:
    """Return the configuration that shows these examples of a model in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(documents)})


class RequestModel(BaseModel):
    """Base of request bodies: types are not converted, unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """Base of response bodies: fields that the model does not have are a bug."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
