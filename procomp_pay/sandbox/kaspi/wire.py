"""JSON in and out: the envelope, the fields of a request, and money as numbers with two decimals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import simplejson
from aiohttp import web

from .book import Book
from .codes import OK, WRONG_AMOUNT, KaspiError, MalformedRequestError

Data = dict[str, Any] | list[dict[str, Any]] | None

CENT: Final = Decimal("0.01")
# The document gives no limit; this one only keeps absurd numbers out of the arithmetic.
LARGEST_AMOUNT: Final = Decimal("100000000.00")
BIN_FORM: Final = re.compile(r"[0-9]{12}")


def tenge(value: object) -> Decimal:
    """Return a JSON number as tenge with two decimals. Raises KaspiError 990000028 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise KaspiError(WRONG_AMOUNT)
    amount = Decimal(value)
    if not amount.is_finite() or not 0 < amount <= LARGEST_AMOUNT or amount != amount.quantize(CENT):
        raise KaspiError(WRONG_AMOUNT)
    return amount.quantize(CENT)


def tenge_text(value: object) -> Decimal:
    """Return tenge from a form or a control body, which may be text too. Raises MalformedRequestError."""
    try:
        return tenge(Decimal(value) if isinstance(value, str) else value)
    except (KaspiError, InvalidOperation) as error:
        raise MalformedRequestError("Amount must be tenge above zero, such as 2000.00") from error


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return JSON with every Decimal written exactly: `200.00`."""
    text = simplejson.dumps(value, use_decimal=True, ensure_ascii=False)
    return web.json_response(text=text, status=status, headers=headers)


def success(data: Data) -> web.Response:
    """Return the envelope of a successful call; Data is left out if there is none."""
    envelope: dict[str, Any] = {"StatusCode": OK, "Message": "OK"}
    if data is not None:
        envelope["Data"] = data
    return json_answer(envelope)


def refusal(error: KaspiError) -> web.Response:
    """Return the envelope of a refusal: code and message, no Data."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    body = {"StatusCode": error.code, "Message": error.message}
    return json_answer(body, error.http_status, headers)


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, fractional numbers as Decimal. Raises MalformedRequestError."""
    if request.content_type != "application/json":
        raise MalformedRequestError("Content-Type must be application/json", http_status=415)
    try:
        body = simplejson.loads(await request.read(), use_decimal=True)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise MalformedRequestError("The body is not valid JSON") from error
    if not isinstance(body, dict):
        raise MalformedRequestError("The body must be a JSON object")
    return body


@dataclass(frozen=True)
class Call:
    """One call of the API, read and let in: what a handler needs and nothing of HTTP.

    `scheme` is r1, r2 or r3; `version` is v01 or v02; `origin` is the address the caller used.
    """

    book: Book
    scheme: str
    version: str
    origin: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a required text. Raises MalformedRequestError."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise MalformedRequestError(f"{name} is required and must be a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text or None. Raises MalformedRequestError for another type."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedRequestError(f"{name} must be a string")
        return value

    def whole(self, name: str) -> int:
        """Return a required JSON integer. Raises MalformedRequestError."""
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedRequestError(f"{name} is required and must be an integer")
        return value

    def amount(self) -> Decimal:
        """Return the field Amount in tenge. Raises KaspiError 990000028."""
        return tenge(self.body.get("Amount"))

    def asked(self, name: str) -> str:
        """Return a required query parameter. Raises MalformedRequestError."""
        value = self.query.get(name)
        if not value:
            raise MalformedRequestError(f"The query parameter {name} is required")
        return value

    def organization(self) -> str:
        """Return the BIN that the call acts for: in the body in the enhanced scheme, otherwise the key's."""
        if self.scheme != "r3":
            return self.book.organization_bin
        return checked_bin(self.text("OrganizationBin"))


def checked_bin(value: str) -> str:
    """Return a BIN of 12 digits. Raises MalformedRequestError."""
    if not BIN_FORM.fullmatch(value):
        raise MalformedRequestError("OrganizationBin must be 12 digits")
    return value


def number(value: str) -> int | None:
    """Return digits as a number, None for anything else; for ids in a path."""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 19 else None
