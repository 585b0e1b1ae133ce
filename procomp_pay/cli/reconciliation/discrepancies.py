"""``discrepancies``: what does not agree, in pages, in sentences, and how it ends."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    hint,
    is_interactive,
    operator,
    print_json,
    run_with_context,
    say,
)
from procomp_pay.cli.framework.paging import CursorOption, LimitOption, print_page, tell_next

_EXAMPLES = """[bold]Examples[/]

  procomp-pay discrepancies list
  procomp-pay discrepancies list --state all --kind amount_mismatch
  procomp-pay discrepancies show ID
  procomp-pay discrepancies resolve ID --how refund --note "paid twice\""""
_RESOLVE = """[bold]Ways[/]

  accept     it is right as it is
  fix        ask the provider, and take over what it says
  refund     give the rest of the payment back
  write-off  the money is gone

Accepted and written-off ones stay closed unless something about them changes;
the others open again if the next reconcile still finds them. Exit code 6: after
a fix it is still there."""

group = typer.Typer(no_args_is_help=True, help="What does not agree, and how it ends.", epilog=_EXAMPLES)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="discrepancies")


@group.command("list")
def list_them(
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="As the list names it: amount_mismatch.")
    ] = None,
    state: Annotated[str, typer.Option(metavar="STATE", help="open, resolved or all.")] = "open",
    tournament: Annotated[str | None, typer.Option(metavar="ID", help="Only of this tournament.")] = None,
    provider: Annotated[str | None, typer.Option(metavar="NAME", help="stripe or kaspi.")] = None,
    payment: Annotated[str | None, typer.Option(metavar="ID", help="Only of this payment.")] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is open, newest first."""
    from procomp_pay.services.reconciliation import discrepancies as use

    wanted = _filter(kind, state, tournament, provider, payment)
    found, following = run_with_context(lambda ctx: use.many(ctx, wanted, limit=limit, cursor=cursor))
    if as_json:
        print_page(found, following)
        return
    from procomp_pay.cli.reconciliation import discrepancy_output as discrepancy_words

    if not found:
        say("Nothing is open." if state == "open" else "None.", dim=True)
        return
    for line in discrepancy_words.table(found):
        typer.echo(line)
    given = {
        "kind": kind, "state": state, "tournament": tournament, "provider": provider,
        "payment": payment, "limit": limit,
    }  # fmt: skip
    tell_next("discrepancies list", given, following)


def _filter(
    kind: str | None, state: str, tournament: str | None, provider: str | None, payment: str | None
) -> Any:
    from procomp_pay.domain.transitions import DiscrepancyKind
    from procomp_pay.storage.models.states import DiscrepancyState
    from procomp_pay.storage.reconciliation.discrepancies import Filter

    kinds = {each.value: each for each in DiscrepancyKind}
    wanted = kind.upper().replace("-", "_") if kind else None
    if wanted is not None and wanted not in kinds:
        raise typer.BadParameter(f"--kind is one of {', '.join(kinds).lower()}")
    if state not in ("open", "resolved", "all"):
        raise typer.BadParameter("--state is open, resolved or all")
    if provider not in (None, "stripe", "kaspi"):
        raise typer.BadParameter("--provider is stripe or kaspi")
    return Filter(
        kind=kinds[wanted] if wanted else None,
        state=None if state == "all" else DiscrepancyState(state),
        provider=provider,
        tournament_id=tournament,
        payment_id=payment,
    )


@group.command()
def show(
    discrepancy: Annotated[str, typer.Argument(help="Its id.", metavar="ID")], as_json: JsonOption = False
) -> None:
    """What our books say, what the provider says, and what to do next."""
    from procomp_pay.services.reconciliation import discrepancies as use

    found = run_with_context(lambda ctx: use.one(ctx, discrepancy))
    if as_json:
        print_json(found.full())
        return
    from procomp_pay.cli.reconciliation import discrepancy_output as discrepancy_words

    for line in discrepancy_words.page(found):
        typer.echo(line)
    for command in discrepancy_words.next_steps(found):
        hint(command)


@group.command(epilog=_RESOLVE)
def resolve(
    discrepancy: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    how: Annotated[str, typer.Option(metavar="WAY", help="accept, fix, refund or write-off.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for good.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before money goes back.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """End one: who, when, how and why are kept."""
    from procomp_pay.services.reconciliation import discrepancies as use

    ways = [each.value for each in use.How]
    if how not in ways:
        raise typer.BadParameter(f"--how is one of {', '.join(ways)}")
    actor = operator(acting)
    if how == "refund" and not yes:
        if as_json or not is_interactive():
            raise typer.BadParameter("money goes back: add --yes")
        if not typer.confirm("Give the rest of the payment back?", default=False, err=True):
            say("Left as it is.", fg="yellow")
            raise typer.Exit(3)
    done = run_with_context(lambda ctx: use.resolve(ctx, discrepancy, use.How(how), note, actor))
    if as_json:
        print_json(done.full())
        return
    typer.echo(f"✓ {done.kind} resolved by {clean(done.resolved_by)}: {done.resolution}, {clean(done.note)}")
