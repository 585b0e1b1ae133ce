"""The options of ``initiate``: checked before anything is opened, then turned into a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.domain.states import Channel
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.initiation.request import InitiateRequest

METHODS_HELP = "kaspi_qr, apple_pay or google_pay."


class Method(StrEnum):
    """The values of ``--method``."""

    KASPI_QR = "kaspi_qr"
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"


@dataclass(frozen=True, slots=True)
class InitiateOptions:
    """The options as they were typed."""

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
    not_theirs: bool = False

    @property
    def is_kaspi(self) -> bool:
        return self.method is Method.KASPI_QR


def check(options: InitiateOptions, qr_file: Path | None) -> None:
    """Check that the options fit each other.

    :raises typer.BadParameter, Refused: they do not, or the QR file cannot be written.
    """
    from procomp_pay.cli.display.qr import check_file

    if options.is_kaspi and options.intent_only:
        raise typer.BadParameter(N_("--intent-only is for apple_pay and google_pay"))
    if options.link and not options.is_kaspi:
        raise typer.BadParameter(N_("--link is for kaspi_qr"))
    if options.intent_only and qr_file is not None:
        raise typer.BadParameter(N_("--intent-only has no QR: leave out --qr-file"))
    check_file(qr_file)
    url = options.return_url
    if url is not None and not (url.startswith(("https://", "http://")) and url.isprintable()):
        raise Refused(
            N_("--return-url %(url)s is not a web address", url=repr(console.clean(url[:60]))),
            next_step=N_("start it with https://"),
        )
    key = options.idempotency_key
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise Refused(
            N_("An idempotency key has 1 to 255 printable characters"),
            next_step=N_("for example --idempotency-key ORDER-17"),
        )


def check_phone(options: InitiateOptions, *, watch: bool, as_json: bool) -> None:
    """Check the options of an invoice.

    :raises typer.BadParameter: they do not fit each other, or the customer's name cannot be confirmed.
    """
    if options.phone is None:
        return
    if not options.is_kaspi or options.link:
        raise typer.BadParameter(N_("--phone is for kaspi_qr, and instead of --link"))
    if watch:
        raise typer.BadParameter(
            N_("an invoice has no QR, and Kaspi forbids polling it: leave out --watch and --qr-file")
        )
    console.check_can_ask(
        yes=options.yes, as_json=as_json, instead=N_("pass --yes if you know whose number it is")
    )


def _channel(options: InitiateOptions) -> Channel:
    from procomp_pay.domain.states import Channel

    if options.phone is not None:
        return Channel.KASPI_REMOTE
    if options.is_kaspi:
        return Channel.KASPI_LINK if options.link else Channel.KASPI_QR
    return Channel.STRIPE_INTENT if options.intent_only else Channel.STRIPE_CHECKOUT


async def read_request(ctx: AppContext, options: InitiateOptions) -> InitiateRequest:
    """Turn the options into a request; for an invoice ask whether the number is the customer's."""
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.services.initiation.request import InitiateRequest

    phone = None
    if options.phone is not None:
        phone = await _confirm_phone(ctx, options.phone, yes=options.yes)
    return InitiateRequest(
        participant_id=options.participant_id,
        method=PaymentMethod(options.method.value.upper()),
        channel=_channel(options),
        requested=await _requested(ctx, options),
        return_url=options.return_url,
        idempotency_key=options.idempotency_key,
        phone=phone,
        is_not_theirs=options.not_theirs,
    )


async def _requested(ctx: AppContext, options: InitiateOptions) -> Money | None:
    """Return the amount to charge, in the currency that was given or implied; None for the entry fee."""
    from procomp_pay.domain.money import Currency, Money
    from procomp_pay.services.registrations.terms import fees_for

    if options.amount is None and options.currency is None:
        return None
    if options.amount is not None and options.currency is not None:
        return Money.typed(options.amount, options.currency)
    fees = await fees_for(ctx, options.participant_id)
    if options.amount is not None:
        return Money.typed(options.amount, Currency.KZT if options.is_kaspi else fees.main.currency)
    currency = Money.parse(1, str(options.currency)).currency
    fee = fees.in_currency(currency)
    if fee is None:
        raise Refused(
            N_(
                "The tournament has no entry fee in %(currency)s, only in %(names)s",
                currency=currency,
                names=", ".join(fees.currencies),
            ),
            next_step=f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}",
        )
    return fee


async def _confirm_phone(ctx: AppContext, text: str, *, yes: bool) -> str:
    """Return the number in Kaspi's form, after its owner's name was shown and confirmed.

    :raises Refused: it is not a number of Kazakhstan, or the scheme has no invoices.
    :raises NotFound: it belongs to no customer of Kaspi.
    """
    from procomp_pay.domain.states import Channel
    from procomp_pay.providers.kaspi.invoices import read_phone
    from procomp_pay.providers.kaspi.service import KaspiPaymentService

    phone = read_phone(text)
    service = ctx.providers.of(Channel.KASPI_REMOTE)
    if not isinstance(service, KaspiPaymentService):
        raise TypeError("a Kaspi channel must be served by Kaspi")
    name = console.clean(await service.client_name(phone))
    console.say(
        _(
            "At Kaspi, %(phone)s belongs to %(name)s.",
            phone=phone,
            name=name or _("a customer without a name"),
        )
    )
    if not yes:
        console.confirm(_("Send the invoice to this number?"), declined=_("Nothing was sent."))
    return phone
