"""What was typed after ``initiate``: refused early where it makes no sense, and turned into an order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.domain.states import Channel
    from procomp_pay.services.context import Desk
    from procomp_pay.services.initiation.initiate import Order

METHODS_HELP = "kaspi_qr, apple_pay or google_pay."


class Method(StrEnum):
    """The methods as people write them."""

    KASPI_QR = "kaspi_qr"
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed."""

    participant_id: str
    method: Method
    amount: str | None
    currency: str | None
    return_url: str | None
    idempotency_key: str | None
    intent_only: bool
    link: bool
    phone: str | None = None
    yes: bool = False

    @property
    def is_kaspi(self) -> bool:
        return self.method is Method.KASPI_QR


def check(wish: Wish, qr_file: Path | None) -> None:
    """What can be refused before anything is opened."""
    from procomp_pay.cli.display.qr import checked_file

    if wish.is_kaspi and wish.intent_only:
        raise typer.BadParameter("--intent-only is for apple_pay and google_pay")
    if wish.link and not wish.is_kaspi:
        raise typer.BadParameter("--link is for kaspi_qr")
    if wish.intent_only and qr_file is not None:
        raise typer.BadParameter("a bare intent has no QR: leave out --qr-file or --intent-only")
    checked_file(qr_file)
    url = wish.return_url
    if url is not None and not (url.startswith(("https://", "http://")) and url.isprintable()):
        raise Refused(
            f"--return-url {console.clean(url[:60])!r} is not a web address",
            next_step="write it with https://",
        )
    key = wish.idempotency_key
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise Refused(
            "An idempotency key is 1 to 255 printable characters", next_step="--idempotency-key ORDER-17"
        )


def check_phone(wish: Wish, *, watch: bool, as_json: bool) -> None:
    if wish.phone is None:
        return
    if not wish.is_kaspi or wish.link:
        raise typer.BadParameter("--phone is for kaspi_qr, instead of a QR or a link")
    if watch:
        raise typer.BadParameter(
            "an invoice has no QR and may not be asked about on a timer: no --watch here"
        )
    console.check_can_ask(yes=wish.yes, as_json=as_json, instead="say --yes if you know whose number it is")


def _channel(wish: Wish) -> Channel:
    from procomp_pay.domain.states import Channel

    if wish.phone is not None:
        return Channel.KASPI_REMOTE
    if wish.is_kaspi:
        return Channel.KASPI_LINK if wish.link else Channel.KASPI_QR
    return Channel.STRIPE_INTENT if wish.intent_only else Channel.STRIPE_CHECKOUT


async def order(desk: Desk, wish: Wish) -> Order:
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.services.initiation.initiate import Order

    phone = None
    if wish.phone is not None:
        phone = await _confirmed(desk, wish.phone, yes=wish.yes)
    return Order(
        participant_id=wish.participant_id,
        method=PaymentMethod(wish.method.value.upper()),
        channel=_channel(wish),
        requested=await _requested(desk, wish),
        return_url=wish.return_url,
        idempotency_key=wish.idempotency_key,
        phone=phone,
    )


async def _requested(desk: Desk, wish: Wish) -> Money | None:
    """The amount that was typed, in the currency that was meant; ``None`` takes the fee as it stands."""
    from procomp_pay.domain.money import Currency, Money
    from procomp_pay.services.views import payment as views

    if wish.amount is None and wish.currency is None:
        return None
    if wish.amount is not None and wish.currency is not None:
        return Money.parse(wish.amount, wish.currency)
    fees = await views.fees_for(desk, wish.participant_id)
    if wish.amount is not None:
        return Money.parse(wish.amount, Currency.KZT if wish.is_kaspi else fees.main.currency)
    currency = Money.parse(1, str(wish.currency)).currency
    fee = fees.in_currency(currency)
    if fee is None:
        raise Refused(
            f"The tournament has no entry fee in {currency}, only in {', '.join(fees.currencies)}",
            next_step=f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}",
        )
    return fee


async def _confirmed(desk: Desk, typed: str, *, yes: bool) -> str:
    """The number as Kaspi takes it, after Kaspi's name for it was shown and agreed to.

    :raises Refused: no number of Kazakhstan, or the scheme has no invoices.
    :raises NotFound: no customer of Kaspi has this number.
    """
    from procomp_pay.domain.states import Channel
    from procomp_pay.providers.kaspi.invoices import read_phone
    from procomp_pay.providers.kaspi.service import KaspiPaymentService

    phone = read_phone(typed)
    service = desk.providers.of(Channel.KASPI_REMOTE)
    if not isinstance(service, KaspiPaymentService):
        raise TypeError("Kaspi's channels lead to Kaspi")
    name = console.clean(await service.client_name(phone))
    console.say(f"At Kaspi {phone} is {name or 'a customer without a name'}.")
    if not yes:
        console.confirm("Send the invoice there?", declined="Nothing was sent.")
    return phone
