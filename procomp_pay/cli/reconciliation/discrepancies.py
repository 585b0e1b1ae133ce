"""``discrepancies``: list, show and resolve reconciliation discrepancies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import operator, run_with_context
from procomp_pay.cli.framework.options import (
    AsOption,
    CursorOption,
    JsonOption,
    LimitOption,
    TournamentFilter,
    command_group,
)
from procomp_pay.cli.framework.paging import print_next_page, print_page

_EXAMPLES = """[bold]Examples[/]

  procomp-pay discrepancies list
  procomp-pay discrepancies list --state all --kind amount_mismatch
  procomp-pay discrepancies show ID
  procomp-pay discrepancies resolve ID --how refund --note "paid twice\""""
_RESOLVE = """[bold]Ways[/]

  accept     it is correct as it is
  fix        ask the provider again, and take over its answer
  refund     refund the rest of the payment
  write-off  the money is lost

Accepted and written-off discrepancies stay closed unless something about them
changes; the others are opened again if the next reconcile still finds them.

Exit code 6: it is still there after a fix."""

group = command_group("List and resolve reconciliation discrepancies.", epilog=_EXAMPLES)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="discrepancies")


@group.command("list")
def list_discrepancies(
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="A kind as the list shows it, such as amount_mismatch.")
    ] = None,
    state: Annotated[str, typer.Option(metavar="STATE", help="open, resolved or all.")] = "open",
    tournament: TournamentFilter = None,
    provider: Annotated[str | None, typer.Option(metavar="NAME", help="stripe or kaspi.")] = None,
    payment: Annotated[str | None, typer.Option(metavar="ID", help="Only this payment.")] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List discrepancies, newest first; by default the open ones."""
    from procomp_pay.services.reconciliation import discrepancies as use

    selection = _filter(kind, state, tournament, provider, payment)
    views, next_cursor = run_with_context(lambda ctx: use.many(ctx, selection, limit=limit, cursor=cursor))
    if as_json:
        print_page(views, next_cursor)
        return
    from procomp_pay.cli.reconciliation import discrepancy_output

    if not views:
        console.say("No open discrepancies" if state == "open" else "No discrepancies match", dim=True)
        return
    console.print_lines(discrepancy_output.table(views))
    filters = {
        "kind": kind, "state": state, "tournament": tournament, "provider": provider,
        "payment": payment, "limit": limit,
    }  # fmt: skip
    print_next_page("discrepancies list", filters, next_cursor)


def _filter(
    kind: str | None, state: str, tournament: str | None, provider: str | None, payment: str | None
) -> Any:
    from procomp_pay.domain.transitions import DiscrepancyKind
    from procomp_pay.storage.models.states import DiscrepancyState
    from procomp_pay.storage.reconciliation.discrepancies import Filter

    kinds = {known.value: known for known in DiscrepancyKind}
    name = kind.upper().replace("-", "_") if kind else None
    if name is not None and name not in kinds:
        raise typer.BadParameter(f"--kind must be one of {', '.join(kinds).lower()}")
    if state not in ("open", "resolved", "all"):
        raise typer.BadParameter("--state must be open, resolved or all")
    if provider not in (None, "stripe", "kaspi"):
        raise typer.BadParameter("--provider must be stripe or kaspi")
    return Filter(
        kind=kinds[name] if name else None,
        state=None if state == "all" else DiscrepancyState(state),
        provider=provider,
        tournament_id=tournament,
        payment_id=payment,
    )


@group.command()
def show(
    discrepancy: Annotated[str, typer.Argument(help="The discrepancy's id.", metavar="ID")],
    as_json: JsonOption = False,
) -> None:
    """Show a discrepancy: our books, the provider, and what to do next."""
    from procomp_pay.services.reconciliation import discrepancies as use

    view = run_with_context(lambda ctx: use.one(ctx, discrepancy))
    if as_json:
        console.print_json(view.full())
        return
    from procomp_pay.cli.reconciliation import discrepancy_output

    console.print_lines(discrepancy_output.page(view))
    for command in discrepancy_output.next_steps(view):
        console.hint(command)


@group.command(epilog=_RESOLVE)
def resolve(
    discrepancy: Annotated[str, typer.Argument(help="The discrepancy's id.", metavar="ID")],
    how: Annotated[str, typer.Option(metavar="WAY", help="accept, fix, refund or write-off.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which is recorded.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation of a refund.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resolve a discrepancy. Who, when, how and why are recorded."""
    from procomp_pay.services.reconciliation import discrepancies as use

    ways = [way.value for way in use.How]
    if how not in ways:
        raise typer.BadParameter(f"--how must be one of {', '.join(ways)}")
    actor = operator(acting)
    if how == "refund" and not yes:
        console.check_can_ask(yes=yes, as_json=as_json)
        console.confirm("Refund the rest of the payment?")
    resolved = run_with_context(lambda ctx: use.resolve(ctx, discrepancy, use.How(how), note, actor))
    if as_json:
        console.print_json(resolved.full())
        return
    message = f"{resolved.kind} resolved by {resolved.resolved_by}: {resolved.resolution}, {resolved.note}"
    typer.echo(f"✓ {console.clean(message)}")
