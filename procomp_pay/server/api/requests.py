"""What requests bring: bodies, ids in paths, the idempotency key. Whatever does not fit is refused here."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationError

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.identifiers import LONGEST_ID, is_identifier
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.server.http.json_types import Method, RequestAmount, RequestCurrency, RequestModel, example
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.storage.models import exact_json

BodyT = TypeVar("BodyT", bound=BaseModel)

#: The largest body in bytes; Stripe's events may be larger.
BODY_BYTES = 64 * 1024
WEBHOOK_BYTES = 1024 * 1024
#: Seconds in which a body has to arrive.
ARRIVAL_S = 30
_LONGEST_URL = 2000
_LONGEST_KEY = 255
_SHOWN_PROBLEMS = 3


def path_id(request: web.Request, name: str) -> str:
    """An id of the path.

    :raises NotFound: nothing has such an id; the database is not asked.
    """
    found = request.match_info[name]
    if not is_identifier(found):
        raise NotFound(f"There is no such {name.removesuffix('_id')}")
    return found


def identifier(text: str) -> str:
    """
    :raises ValueError: nothing can have such an id.
    """
    if not is_identifier(text):
        raise ValueError(f"must be 1 to {LONGEST_ID} printable characters")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port  # raises for one that is none
    except ValueError:
        whole = False
    if not whole or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("must be an http or https address")
    return text


class InitiateBody(RequestModel):
    """``amount`` and ``currency`` come together or not at all (then it is the fee)."""

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

    def order(self, idempotency_key: str | None) -> InitiateRequest:
        """Return the request of the use case: in the app a link opens Kaspi, and an intent opens the wallet.

        :raises Refused: half of an amount. :raises InvalidAmount: not an amount that we take.
        """
        method = PaymentMethod(self.method.upper())
        requested = both_or_none(self.amount, self.currency, otherwise="take the fee as it stands")
        return InitiateRequest(
            participant_id=self.participant_id,
            method=method,
            channel=Channel.KASPI_LINK if method.is_kaspi else Channel.STRIPE_INTENT,
            requested=requested,
            return_url=self.return_url,
            idempotency_key=idempotency_key,
        )


class StripeEvent(RootModel[dict[str, Any]]):
    """An event as Stripe sends it; its signature is over the raw bytes, so it is read by who checks that."""


class Signed(RequestModel):
    """``s`` is the signature of the address; without the right one there is no picture."""

    s: str


def both_or_none(amount: Decimal | None, currency: str | None, *, otherwise: str) -> Money | None:
    """An amount of a body.

    :param otherwise: what leaving it out means, for the message.
    :raises Refused: half of it. :raises InvalidAmount: not an amount that we take.
    """
    if (amount is None) != (currency is None):
        raise Refused(f"amount and currency come together; leave both out to {otherwise}")
    return None if amount is None or currency is None else Money.parse(amount, currency)


def read_initiate(raw: bytes) -> InitiateBody:
    """
    :raises Refused: as :func:`read_document`.
    """
    return read_document(raw, InitiateBody)


def read_document(raw: bytes, model: type[BodyT]) -> BodyT:
    """Read a JSON body.

    :raises Refused: not JSON, a key twice, an unknown field, a wrong type.
    """
    try:
        document = exact_json.loads(raw, unique_keys=True)
    except ValueError:
        raise Refused("The body is not valid JSON") from None
    if not isinstance(document, dict):
        raise Refused("The body must be a JSON object")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Refused(problems(error)) from None


def problems(error: ValidationError) -> str:
    """Return the validation errors, field by field, in one line."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(_problem(item) for item in found[:_SHOWN_PROBLEMS])


def _problem(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"][:1])
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in field[:40])
    if item["type"] == "extra_forbidden":
        return f"{shown}: there is no such field"
    return f"{shown}: {item['msg'].removeprefix('Value error, ')}"


def idempotency_key(request: web.Request) -> str | None:
    """
    :raises Refused: more than one, or not 1 to 255 printable ASCII characters.
    """
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Refused(f"Idempotency-Key is one header of 1 to {_LONGEST_KEY} printable characters")
    return key


def check_is_json(request: web.Request) -> None:
    """
    :raises HTTPUnsupportedMediaType: another content type, or another charset than UTF-8.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise web.HTTPUnsupportedMediaType


async def read_body(request: web.Request, limit: int) -> bytes:
    """The raw body, byte for byte as it was sent.

    :param limit: the most bytes that are taken, and held in memory.
    :raises HTTPRequestEntityTooLarge: more. :raises HTTPUnsupportedMediaType: compressed.
    :raises Refused: it did not arrive in time, or broke off.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    body = bytearray()
    try:
        # mostly it is there, with the head: nothing to wait for
        async with asyncio.timeout(None if request.content.is_eof() else ARRIVAL_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, len(body))
    except TimeoutError:
        raise Refused("The body did not arrive in time") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise Refused("The body broke off") from None
    return bytes(body)
