"""Types that requests, responses and the OpenAPI document share."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from procomp_pay.domain.money import LARGEST


def exact(value: object) -> object:
    """Convert a whole JSON number to Decimal; others are Decimal already."""
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def exact_only(value: object) -> Decimal:
    """Return a response's amount unchanged.

    :raises ValueError: it is not a Decimal, but a float, say.
    """
    if not isinstance(value, Decimal):
        raise ValueError("an amount is a Decimal")  # noqa: TRY004 - pydantic wants a ValueError
    return value


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
#: The time of a response: UTC, ``2024-01-15T14:00:00Z``.
Instant = Annotated[str, Field(examples=["2024-01-15T14:00:00Z"], json_schema_extra={"format": "date-time"})]
Method = Literal["kaspi_qr", "apple_pay", "google_pay"]


def example(*documents: dict[str, Any]) -> ConfigDict:
    """Return the configuration that shows these examples of a model in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(documents)})


class RequestModel(BaseModel):
    """Base of request bodies: types are not converted, unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """Base of response bodies: fields that the model does not have are a bug."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
