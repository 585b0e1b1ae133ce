"""``receipt``: the receipt of a payment, shown, printed, saved or mailed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_of,
    named_payment,
    operator,
    run_with_context,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import AsOption, JsonOption, PaymentArgument
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.receipts.receipt import Receipt
    from procomp_pay.translations import Translation

_EXAMPLES = """[bold]Examples[/]

  procomp-pay receipt PAYMENT
  procomp-pay receipt PAYMENT --pdf receipt.pdf --language kk
  procomp-pay receipt PAYMENT --mail
  procomp-pay receipt PAYMENT --fiscal-number 1234567890"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(receipt)


def receipt(
    payment: PaymentArgument,
    pdf: Annotated[
        str | None, typer.Option("--pdf", metavar="FILE", help="Save it as PDF; - for stdout.")
    ] = None,
    print_it: Annotated[
        bool, typer.Option("--print", help="Print it on this computer's default printer.")
    ] = False,
    mail: Annotated[bool, typer.Option("--mail", help="Send it to the participant's address.")] = False,
    fiscal_number: Annotated[
        str | None,
        typer.Option(metavar="N", help="Record the number of the fiscal receipt; typed again, correct it."),
    ] = None,
    language: Annotated[
        Language | None,
        typer.Option("--language", metavar="ru|kk|en", help="Default: MAIL_LANGUAGE."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the receipt of a paid payment. It is no fiscal receipt."""
    from procomp_pay.cli.reports import files

    files.check([pdf], force=force, as_json=as_json)
    settings = load_settings()
    actor = operator(acting)

    async def work(ctx: AppContext) -> Receipt:
        from procomp_pay.services.receipts import receipt as receipts

        writes = fiscal_number is not None or mail
        named = await named_payment(ctx, payment, as_json=as_json, whole_name=writes)
        found = await receipts.of_payment(ctx, named)
        if fiscal_number is not None:
            found = await receipts.record_fiscal_number(ctx, found.view.payment_id, fiscal_number, actor)
        if mail:
            ctx.senders.check_letters()
            await receipts.send(ctx, found)
        return found

    found = run_with_context(work, settings=settings)
    mode = mode_of(settings, found.view)
    translation = _translation(language or settings.mail_language)
    if pdf is not None or print_it:
        from procomp_pay.services.receipts.pdf import receipt_pdf

        content = receipt_pdf(translation, found, mark="" if mode == "live" else f"[{mode.upper()}]")
        if pdf is not None:
            files.write(pdf, lambda stream: stream.write(content), force=force)
        if print_it:
            _print(content)
    if as_json:
        console.print_json(found.view.full() | {"fiscal_number": found.fiscal_number, "mode": mode})
        return
    if pdf is None and not print_it:
        _show(translation, found)
    _say_what_was_done(pdf, mail=mail, fiscal_number=found.fiscal_number if fiscal_number else None)


def _translation(language: str) -> Translation:
    from procomp_pay.translations import Translation

    return Translation(language)


def _print(content: bytes) -> None:
    """Hand the PDF to the printing system.

    :raises Refused: there is none, or it did not take it.
    """
    import shutil
    import subprocess

    command = shutil.which("lp") or shutil.which("lpr")
    if command is None:
        raise Refused(
            N_("This computer has no command lp or lpr"),
            next_step=N_("save it with --pdf FILE and print that"),
        )
    done = subprocess.run([command], input=content, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise Refused(
            N_("The printer did not take it: %(why)s", why=why),
            next_step=N_("save it with --pdf FILE and print that"),
        )


def _show(translation: Translation, found: Receipt) -> None:
    from procomp_pay.services.receipts.receipt import disclaimer, heading, rows

    lines = rows(translation, found)
    width = max(len(label) for label, _ in lines)
    shown = [heading(translation), "", *(f"{label:<{width}}  {value}" for label, value in lines), ""]
    console.print_lines(map(console.clean, [*shown, disclaimer(translation)]))


def _say_what_was_done(pdf: str | None, *, mail: bool, fiscal_number: str | None) -> None:
    if fiscal_number is not None:
        console.say(
            _(
                "The number of the fiscal receipt is recorded: %(number)s",
                number=console.clean(fiscal_number),
            ),
            fg="green",
        )
    if pdf is not None and pdf != "-":
        console.say(_("The receipt was saved to %(path)s", path=console.clean(pdf)), dim=True)
    if mail:
        console.say(_("The receipt is on its way: it is sent by serve, or by the next maintain"), dim=True)
