"""What was typed after ``initiate``: refused early where it makes no sense, and turned into an order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import clean
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.domain.states import Channel
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.initiation.initiate import InitiateRequest

METHODS_HELP = "kaspi_qr, apple_pay or google_pay."


class Method(StrEnum):
    """The methods as people write them."""

    KASPI_QR = "kaspi_qr"
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"


@dataclass(frozen=True, slots=True)
class InitiateOptions:
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


def check(options: InitiateOptions, qr_file: Path | None) -> None:
    """What can be refused before anything is opened."""
    from procomp_pay.cli.payments.qr import checked_file

    if options.is_kaspi and options.intent_only:
        raise typer.BadParameter("--intent-only is for apple_pay and google_pay")
    if options.link and not options.is_kaspi:
        raise typer.BadParameter("--link is for kaspi_qr")
    if options.intent_only and qr_file is not None:
        raise typer.BadParameter("a bare intent has no QR: leave out --qr-file or --intent-only")
    checked_file(qr_file)
    url = options.return_url
    if url is not None and not (url.startswith(("https://", "http://")) and url.isprintable()):
        raise Refused(
            f"--return-url {clean(url[:60])!r} is not a web address", next_step="write it with https://"
        )
    key = options.idempotency_key
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise Refused(
            "An idempotency key is 1 to 255 printable characters", next_step="--idempotency-key ORDER-17"
        )


def check_phone(options: InitiateOptions, *, watch: bool, as_json: bool) -> None:
    from procomp_pay.cli.payments import invoice as starting_remote

    if options.phone is None:
        return
    if not options.is_kaspi or options.link:
        raise typer.BadParameter("--phone is for kaspi_qr, instead of a QR or a link")
    if watch:
        raise typer.BadParameter(
            "an invoice has no QR and may not be asked about on a timer: no --watch here"
        )
    starting_remote.check(yes=options.yes, as_json=as_json)


def _channel(options: InitiateOptions) -> Channel:
    from procomp_pay.domain.states import Channel

    if options.phone is not None:
        return Channel.KASPI_REMOTE
    if options.is_kaspi:
        return Channel.KASPI_LINK if options.link else Channel.KASPI_QR
    return Channel.STRIPE_INTENT if options.intent_only else Channel.STRIPE_CHECKOUT


async def order(ctx: AppContext, options: InitiateOptions) -> InitiateRequest:
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.services.initiation.initiate import InitiateRequest

    phone = None
    if options.phone is not None:
        from procomp_pay.cli.payments.invoice import confirmed

        phone = await confirmed(ctx, options.phone, yes=options.yes)
    return InitiateRequest(
        participant_id=options.participant_id,
        method=PaymentMethod(options.method.value.upper()),
        channel=_channel(options),
        requested=await _requested(ctx, options),
        return_url=options.return_url,
        idempotency_key=options.idempotency_key,
        phone=phone,
    )


async def _requested(ctx: AppContext, options: InitiateOptions) -> Money | None:
    """The amount that was typed, in the currency that was meant; ``None`` takes the fee as it stands."""
    from procomp_pay.domain.money import Currency, Money
    from procomp_pay.services.views import payment as views

    if options.amount is None and options.currency is None:
        return None
    if options.amount is not None and options.currency is not None:
        return Money.parse(options.amount, options.currency)
    fees = await views.fees_for(ctx, options.participant_id)
    if options.amount is not None:
        return Money.parse(options.amount, Currency.KZT if options.is_kaspi else fees.main.currency)
    currency = Money.parse(1, str(options.currency)).currency
    fee = fees.in_currency(currency)
    if fee is None:
        raise Refused(
            f"The tournament has no entry fee in {currency}, only in {', '.join(fees.currencies)}",
            next_step=f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}",
        )
    return fee
