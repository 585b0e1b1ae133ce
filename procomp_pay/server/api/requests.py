"""Read and validate requests: bodies, ids in paths, the idempotency key."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationError

from procomp_pay.domain.errors import ErrorCode, InvalidRequest, NotFound
from procomp_pay.domain.identifiers import LONGEST_ID, is_identifier
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.server.http.json_types import Method, RequestAmount, RequestCurrency, RequestModel, example
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.storage.models import exact_json

BodyT = TypeVar("BodyT", bound=BaseModel)

#: The largest bodies, in bytes; events of providers may be larger than other requests.
BODY_BYTES = 64 * 1024
WEBHOOK_BYTES = 1024 * 1024
#: Seconds in which a body must arrive.
ARRIVAL_S = 30
_LONGEST_URL = 2000
_LONGEST_KEY = 255
_SHOWN_PROBLEMS = 3


def path_id(request: web.Request, name: str) -> str:
    """Return an id of the path.

    :raises NotFound: nothing can have such an id; the database is not queried.
    """
    value = request.match_info[name]
    if not is_identifier(value):
        codes = {"participant_id": ErrorCode.PARTICIPANT_NOT_FOUND, "payment_id": ErrorCode.PAYMENT_NOT_FOUND}
        raise NotFound(f"There is no such {name.removesuffix('_id')}", code=codes.get(name))
    return value


def identifier(text: str) -> str:
    """Return the id.

    :raises ValueError: nothing can have such an id.
    """
    if not is_identifier(text):
        raise ValueError(f"must be 1 to {LONGEST_ID} printable characters")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port  # raises for an invalid port
    except ValueError:
        is_complete = False
    if not is_complete or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("must be an http or https address")
    return text


class InitiateBody(RequestModel):
    """``amount`` and ``currency`` are given together or left out; without them the entry fee is charged."""

    model_config = example(
        {
            "participant_id": "participant_123",
            "method": "apple_pay",
            "amount": Decimal("50.00"),
            "currency": "USD",
            "return_url": "https://app.procomp.com/payment/success",
        },
        {"participant_id": "participant_123", "method": "kaspi_qr"},
    )

    participant_id: Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(identifier)]
    method: Method
    amount: RequestAmount = None
    currency: RequestCurrency = None
    return_url: (
        Annotated[
            str,
            Field(max_length=_LONGEST_URL, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://"),
            AfterValidator(_web_address),
        ]
        | None
    ) = None

    def to_request(self, idempotency_key: str | None) -> InitiateRequest:
        """Return the request of the use case: in the app a link opens Kaspi, and an intent opens the wallet.

        :raises InvalidRequest: an amount without a currency, or the reverse.
        :raises InvalidAmount: not a valid amount.
        """
        method = PaymentMethod(self.method.upper())
        requested = both_or_none(self.amount, self.currency, otherwise="charge the entry fee")
        return InitiateRequest(
            participant_id=self.participant_id,
            method=method,
            channel=Channel.KASPI_LINK if method.is_kaspi else Channel.STRIPE_INTENT,
            requested=requested,
            return_url=self.return_url,
            idempotency_key=idempotency_key,
        )


class StripeEvent(RootModel[dict[str, Any]]):
    """An event of Stripe. Its raw bytes are signed, so it is parsed after the signature is checked."""


class Signed(RequestModel):
    """``s`` is the signature of the address; without a valid one there is no image."""

    s: str


def both_or_none(amount: Decimal | None, currency: str | None, *, otherwise: str) -> Money | None:
    """Return the amount of a body, or None where it is left out.

    :param otherwise: what leaving it out means, for the message.
    :raises InvalidRequest: an amount without a currency, or the reverse.
    :raises InvalidAmount: not a valid amount.
    """
    if (amount is None) != (currency is None):
        raise InvalidRequest(f"amount and currency must be given together; leave out both to {otherwise}")
    return None if amount is None or currency is None else Money.parse(amount, currency)


def read_initiate(raw: bytes) -> InitiateBody:
    """Return the body of an initiation.

    :raises InvalidRequest: as :func:`read_document`.
    """
    return read_document(raw, InitiateBody)


def read_document(raw: bytes, model: type[BodyT]) -> BodyT:
    """Parse a JSON body.

    :raises InvalidRequest: not JSON, a repeated key, an unknown field, a wrong type.
    """
    try:
        document = exact_json.loads(raw, unique_keys=True)
    except ValueError:
        raise InvalidRequest("The body is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(problems(error)) from None


def problems(error: ValidationError) -> str:
    """Return the validation errors, field by field, in one line."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(_problem(item) for item in errors[:_SHOWN_PROBLEMS])


def _problem(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"][:1])
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in field[:40])
    if item["type"] == "extra_forbidden":
        return f"{name}: there is no such field"
    return f"{name}: {item['msg'].removeprefix('Value error, ')}"


def idempotency_key(request: web.Request) -> str | None:
    """Return the idempotency key of a request, or None.

    :raises InvalidRequest: more than one, or not 1 to 255 printable ASCII characters.
    """
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key must be one header of 1 to {_LONGEST_KEY} printable ASCII characters"
        )
    return key


def check_is_json(request: web.Request) -> None:
    """
    :raises HTTPUnsupportedMediaType: another content type, or another charset than UTF-8.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise web.HTTPUnsupportedMediaType


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the raw body, byte for byte as it was sent.

    :param limit: the most bytes that are accepted and held in memory.
    :raises HTTPRequestEntityTooLarge: the body is larger. :raises HTTPUnsupportedMediaType: it is compressed.
    :raises InvalidRequest: it did not arrive in time, or broke off.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    body = bytearray()
    try:
        if request.content.is_eof():  # mostly it arrived together with the head
            whole = request.content.read_nowait()
            if len(whole) > limit:
                raise web.HTTPRequestEntityTooLarge(limit, len(whole))
            return whole
        async with asyncio.timeout(ARRIVAL_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, len(body))
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise InvalidRequest("The body broke off") from None
    return bytes(body)
