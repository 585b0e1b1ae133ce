"""``initiate --phone``: an invoice that appears in the customer's Kaspi app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import clean, hint, is_interactive, say

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import PaymentView


async def confirmed(ctx: AppContext, typed: str, *, yes: bool) -> str:
    """The number as Kaspi takes it, after Kaspi's name for it was shown and agreed to.

    :raises Refused: no number of Kazakhstan, or the scheme has no invoices.
    :raises NotFound: no customer of Kaspi has this number.
    """
    from procomp_pay.domain.states import Channel
    from procomp_pay.providers.kaspi.invoices import read_phone
    from procomp_pay.providers.kaspi.service import KaspiPaymentService

    phone = read_phone(typed)
    service = ctx.providers.of(Channel.KASPI_REMOTE)
    if not isinstance(service, KaspiPaymentService):
        raise TypeError("Kaspi's channels lead to Kaspi")
    name = clean(await service.client_name(phone))
    say(f"At Kaspi {phone} is {name or 'a customer without a name'}.")
    if not yes and not typer.confirm("Send the invoice there?", default=False, err=True):
        say("Nothing was sent.", fg="yellow")
        raise typer.Exit(3)
    return phone


def check(*, yes: bool, as_json: bool) -> None:
    """Somebody must agree to the name."""
    if not yes and (as_json or not is_interactive()):
        raise typer.BadParameter("there is nobody to ask here whose number it is: say --yes if you know")


def show(view: PaymentView) -> None:
    """What to do now; nobody asks Kaspi by a timer."""
    if view.is_final:
        return
    say("The invoice is in the customer's Kaspi app for 24 hours. Kaspi forbids asking on a timer.", dim=True)
    hint(f"procomp-pay status --payment {view.payment_id} --refresh")
    hint(f"procomp-pay cancel {view.payment_id}")
