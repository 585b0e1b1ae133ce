"""``initiate``: start a payment and show how to pay it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.payments.initiate_options import (
    METHODS_HELP,
    InitiateOptions,
    Method,
    check,
    check_phone,
    order,
)
from procomp_pay.cli.payments.initiate_output import save, show

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import Opening, PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay initiate PARTICIPANT --method kaspi_qr --watch
  procomp-pay initiate PARTICIPANT -m apple_pay --amount 50 --currency USD
  procomp-pay initiate PARTICIPANT -m kaspi_qr --qr-file qr.png --json"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(initiate)


def initiate(
    participant: Annotated[str, typer.Argument(help="The participant's id.", metavar="PARTICIPANT")],
    method: Annotated[Method, typer.Option("--method", "-m", metavar="METHOD", help=METHODS_HELP)],
    amount: Annotated[
        str | None, typer.Option(metavar="50.00", help="Must equal the entry fee, which is the default.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="USD", help="Default: the tournament's own; for Kaspi KZT.")
    ] = None,
    return_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the phone goes after a hosted page.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key and request: the same payment.")
    ] = None,
    intent_only: Annotated[
        bool, typer.Option("--intent-only", help="Wallets: a bare PaymentIntent for the app, no page.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Kaspi: a link to send instead of a QR at the desk.")
    ] = False,
    phone: Annotated[
        str | None, typer.Option(metavar="8707…", help="Kaspi: send an invoice to this number (enhanced).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --phone: do not ask whose it is.")] = False,
    qr_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the QR to FILE (.png or .svg).")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Follow it live until it is paid or over.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a payment and show the QR to pay it with.

    An open payment of the same participant and method is shown again, never made twice.
    With --watch the exit code is 0 when it is paid and 3 when it is not.
    """
    options = InitiateOptions(
        participant, method, amount, currency, return_url, idempotency_key, intent_only, link, phone, yes
    )
    check(options, qr_file)
    check_phone(options, watch=watch or qr_file is not None, as_json=as_json)
    using = settings()
    actor = operator(acting)
    warn_of_play_money(using, kaspi=options.is_kaspi, as_json=as_json)
    started: list[str] = []

    async def work(ctx: AppContext) -> int:
        from procomp_pay.services.initiation.initiate import initiate as start
        from procomp_pay.services.views import payment as views

        begun = await start(ctx, await order(ctx, options), actor)
        started.append(begun.payment_id)
        opening = await views.opening(ctx, begun.payment_id)
        if qr_file is not None:
            save(opening, qr_file)
        if begun.reused and not as_json:
            say("This payment was open already: it is the same one, not a second.", dim=True)
        shown = opening.view
        if watch or not as_json:
            shown = await show(ctx, opening, actor, watch=watch, quiet=as_json)
        if as_json:
            mode = using.kaspi_mode if options.is_kaspi else using.stripe_mode
            print_json(_document(opening, shown, reused=begun.reused, mode=mode.value))
        if not watch:
            return 0
        from procomp_pay.cli.payments.watch import exit_code

        return exit_code(shown)

    try:
        code = run_with_context(work, using=using)
    except KeyboardInterrupt:
        from procomp_pay.cli.payments.watch import stopped

        if not started:
            raise
        raise stopped(started[0]) from None
    if code:
        raise typer.Exit(code)


def _document(opening: Opening, view: PaymentView, *, reused: bool, mode: str) -> dict[str, Any]:
    """The API's answer, the payment as it stands, and what the QR holds."""
    ways = opening.seeded() | {"qr_payload": opening.qr_payload}
    return view.full() | ways | {"reused": reused, "mode": mode}
