"""``export``: payments, refunds or payouts of a period as a file for accounting."""

from __future__ import annotations

from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, run_with_context, tournament_id
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import SinceOption, TournamentFilter, UntilOption
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.exports import Export
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext

_EXAMPLES = """[bold]Examples[/]

  procomp-pay export payments --since 2026-05-01 --until 2026-05-31 --output may.csv
  procomp-pay export refunds --format xlsx --output refunds.xlsx
  procomp-pay export payments --format 1c --account KZ12722S000001234567 --output kl_to_1c.txt

One row for each movement, on the day on which the money moved; the columns are in
docs/finance.md."""


class Format(StrEnum):
    """The format of the file."""

    CSV = "csv"
    XLSX = "xlsx"
    JSON = "json"
    ONE_C = "1c"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(export)


def export(
    what: Annotated[Export, typer.Argument(metavar="payments|refunds|payouts", show_default=False)],
    kind: Annotated[
        Format, typer.Option("--format", metavar="csv|xlsx|json|1c", help="1c is 1CClientBankExchange.")
    ] = Format.CSV,
    since: SinceOption = None,
    until: UntilOption = None,
    tournament: TournamentFilter = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file; - for stdout.")
    ] = "-",
    account: Annotated[
        str | None, typer.Option(metavar="IBAN", help="The account that a 1C file is about.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write one row for each payment, refund or payout, for accounting."""
    import shutil
    import tempfile
    from zoneinfo import ZoneInfo

    from procomp_pay.cli.exports import formats as writers
    from procomp_pay.cli.reports import files
    from procomp_pay.domain.period import Period
    from procomp_pay.services.exports.movements import movements

    if what is Export.PAYOUTS and tournament is not None:
        raise typer.BadParameter(N_("a tournament has no payouts of its own: leave --tournament out"))
    zone = ZoneInfo(load_settings().report_timezone)
    period = Period(zone, formats.day(since, "--since", zone), formats.day(until, "--until", zone))
    to_file = output != files.STDOUT
    files.check([output], force=force, as_json=False)
    _check(kind, output, account)

    async def work(ctx: AppContext, made: IO[bytes]) -> tuple[int, int]:
        named = await tournament_id(ctx, tournament, as_json=not to_file)
        # 1C books what is in the file as money on the account
        rows = movements(ctx, what, period, named, arrived_only=kind is Format.ONE_C)
        if kind is Format.CSV:
            return await writers.write_csv(made, rows, for_excel=to_file), 0
        if kind is Format.XLSX:
            return await writers.write_xlsx(made, rows), 0
        if kind is Format.ONE_C:
            return await writers.write_1c(made, rows, str(account).strip(), period, ctx.clock())
        head = {
            "export": what.value,
            "timezone": zone.key,
            "since": period.since.isoformat() if period.since else None,
            "until": period.until.isoformat() if period.until else None,
        }
        return await writers.write_json(made, rows, head), 0

    with tempfile.TemporaryFile() as made:
        count, left_out = run_with_context(lambda ctx: work(ctx, made))

        def fill(stream: IO[bytes]) -> None:
            made.seek(0)
            shutil.copyfileobj(made, stream)

        files.write(output, fill, force=force)
    if to_file:
        done = _("%(file)s: %(n)s rows", file=console.clean(output), n=count)
        console.say(f"\N{CHECK MARK} {done}", fg="green")
    if left_out:
        console.say(
            _("%(n)s rows in other currencies than tenge are not in a file for 1C", n=left_out), fg="yellow"
        )


def _check(kind: Format, output: str, account: str | None) -> None:
    """Check what a format needs.

    :raises Refused: a workbook would go to a terminal, or a file for 1C has no account.
    """
    import sys

    if kind is Format.XLSX and output == "-" and sys.stdout.isatty():
        raise Refused(
            N_("A workbook cannot be shown in a terminal"), next_step=N_("write it to a file: --output FILE")
        )
    if kind is Format.ONE_C and not (account or "").strip():
        raise Refused(
            N_("A file for 1C names the account that it is about"),
            next_step=N_("add --account with the account's number, as 1C has it"),
        )
