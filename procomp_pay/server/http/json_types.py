"""The small types that requests, answers and the OpenAPI document share."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from procomp_pay.domain.money import LARGEST


def exact(value: object) -> object:
    """A JSON number as Decimal, also a whole one."""
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def exact_only(value: object) -> Decimal:
    """Raise ValueError for an amount in an answer that is not a Decimal.

    :raises ValueError: anything else, a float above all.
    """
    if not isinstance(value, Decimal):
        raise ValueError("an amount is a Decimal")  # noqa: TRY004 - pydantic wants a ValueError
    return value


_NUMBER: dict[str, Any] = {"type": "number", "examples": [Decimal("50.00")]}
_PAID: dict[str, Any] = _NUMBER | {"exclusiveMinimum": 0, "maximum": LARGEST}

#: An amount that somebody sends: a positive number with at most two decimals; ``null`` is none.
AskedAmount = Annotated[
    Decimal | None,
    BeforeValidator(exact),
    WithJsonSchema({"anyOf": [_PAID, {"type": "null"}], "description": "At most two decimals."}),
]
#: A currency that somebody sends, in capitals or not.
AskedCurrency = Annotated[str | None, Field(pattern=r"^[A-Za-z]{3}$", examples=["USD"])]
#: An amount that we answer: an exact JSON number, never a float.
Amount = Annotated[Decimal, BeforeValidator(exact_only), WithJsonSchema(_NUMBER)]
#: A time that we answer: UTC, ``2024-01-15T14:00:00Z``.
Instant = Annotated[str, Field(examples=["2024-01-15T14:00:00Z"], json_schema_extra={"format": "date-time"})]
Method = Literal["kaspi_qr", "apple_pay", "google_pay"]


def example(*bodies: dict[str, Any]) -> ConfigDict:
    """Return the field of a model's example in the OpenAPI document; money in it is Decimal."""
    return ConfigDict(json_schema_extra={"examples": list(bodies)})


class Asked(BaseModel):
    """What a request brings: no type is converted, no field unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Shown(BaseModel):
    """What an answer says, and nothing besides."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
