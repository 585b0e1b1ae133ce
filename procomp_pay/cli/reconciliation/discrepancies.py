"""``discrepancies``: list, show and resolve reconciliation discrepancies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats, paging
from procomp_pay.cli.framework.context import (
    load_settings,
    operator,
    payment_id,
    run_with_context,
    tournament_id,
)
from procomp_pay.cli.framework.formats import print_page
from procomp_pay.cli.framework.options import (
    ApproveOption,
    AsOption,
    CursorOption,
    JsonOption,
    LimitOption,
    NextOption,
    PaymentFilter,
    TournamentFilter,
    command_group,
)
from procomp_pay.cli.framework.second_person import approved

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

_WIDE = 120
_PROVIDERS = {"stripe": "Stripe", "kaspi": "Kaspi", None: "the provider"}
#: The meaning of each kind.
_MEANS = {
    "MISSING_LOCALLY": "The provider has a payment that is not in our books.",
    "MISSING_AT_PROVIDER": "Our books show it as paid, but the provider does not know it.",
    "STATUS_MISMATCH": "Our books and the provider have different statuses.",
    "AMOUNT_MISMATCH": "The amount paid is not the fee.",
    "CURRENCY_MISMATCH": "It was paid in another currency.",
    "REFUND_MISMATCH": "The refunds are not the same on both sides.",
    "DUPLICATE_PAYMENT": "The same fee was paid twice.",
    "LATE_PAYMENT": "It was paid after the payment had ended here.",
    "STUCK": "It is still open long after its expiry, and the provider does not report its outcome.",
    "PARTICIPANT_MISMATCH": "The payment and the participant do not match.",
}
_OTHER_MONEY = (
    "Refund it, or accept the amount. A payment that did not settle and whose money was given back at the "
    "provider is cancelled after that."
)
_DO = {
    "MISSING_LOCALLY": "Find out whose payment it is. Refund it at the provider, or accept it with a note.",
    "MISSING_AT_PROVIDER": "Check that it is the right account, then accept it or write it off.",
    "STATUS_MISMATCH": "Resolve it with fix to ask the provider again; then decide.",
    "AMOUNT_MISMATCH": _OTHER_MONEY,
    "CURRENCY_MISMATCH": _OTHER_MONEY,
    "REFUND_MISMATCH": "Compare the refunds on both sides. Resolving with fix takes over the provider's.",
    "DUPLICATE_PAYMENT": "Refund the second payment.",
    "LATE_PAYMENT": "Accept it if the participant can still take part; otherwise refund it.",
    "STUCK": "Check it in the provider's app. Resolving with fix asks the provider again.",
    "PARTICIPANT_MISMATCH": "Check the participant, then refund the payment or accept it.",
}
#: The same for an operation that was verified for another payment before Kaspi named it for this one.
_ONE_OPERATION_MEANS = (
    "Kaspi names one operation for this payment that was verified for another one, too: the money came once, "
    "and both payments count it."
)
_ONE_OPERATION_DO = (
    "Give nothing back as a second payment. Find out which of the two was paid, and accept this with a note "
    "that names the other one. Reports count the sum twice, also after that: close differs by it in the step "
    "sums, which is skipped with the same note."
)
_REFUNDABLE = frozenset({"AMOUNT_MISMATCH", "CURRENCY_MISMATCH", "DUPLICATE_PAYMENT", "LATE_PAYMENT",
                         "PARTICIPANT_MISMATCH"})  # fmt: skip
_FIXABLE = frozenset({"STATUS_MISMATCH", "REFUND_MISMATCH", "STUCK", "MISSING_AT_PROVIDER"})


def table(views: Sequence[DiscrepancyView]) -> list[str]:
    """Return a list of discrepancies: a line for each where there is room or no terminal, else three."""
    if console.is_wide(_WIDE):
        head = ("KIND", "PROVIDER", "SINCE", "ID", "PAYMENT", "AMOUNT", "PARTICIPANT", "WHAT")
        return console.grid(head, [_row(view) for view in views], right=(5,))
    lines = []
    for view in views:
        state = "" if view.is_open else f"  {view.resolution}"
        about = "  ".join(part for part in (amount(view), console.clean(view.participant_name or "")) if part)
        space = max(20, console.columns() - console.width_of(view.kind) - console.width_of(state) - 2)
        lines.append(f"{console.bold(view.kind)}  {console.shortened(about, space)}{state}")
        lines.append(f"  {console.shortened(console.clean(_detail(view)), console.columns() - 2)}")
        lines.append(console.dim(f"  {view.discrepancy_id}  {formats.clock_time(view.opened_at)}"))
    return lines


def _row(view: DiscrepancyView) -> list[str]:
    return [
        view.kind,
        view.provider or "-",
        formats.clock_time(view.opened_at),
        view.discrepancy_id,
        view.payment_id or console.clean(view.ref),
        amount(view),
        console.clean(view.participant_name or "-"),
        console.clean(_detail(view)),
    ]


def amount(view: DiscrepancyView) -> str:
    """Return the amount that a discrepancy is about; nothing if no side reports one."""
    return f"{formats.amount(view.money[0])}\N{NO-BREAK SPACE}{view.money[1]}" if view.money else ""


def _detail(view: DiscrepancyView) -> str:
    return str(view.detail.get("what") or _means(view) or "the two sides do not match")


def _means(view: DiscrepancyView) -> str:
    return _ONE_OPERATION_MEANS if _is_one_operation(view) else _MEANS.get(view.kind, "")


def _do(view: DiscrepancyView) -> str:
    return _ONE_OPERATION_DO if _is_one_operation(view) else _DO.get(view.kind, "")


def _is_one_operation(view: DiscrepancyView) -> bool:
    return view.kind == "DUPLICATE_PAYMENT" and "settled" in view.detail


def page(view: DiscrepancyView) -> list[str]:
    """Return a discrepancy with its explanation."""
    name = _PROVIDERS.get(view.provider, "the provider")
    state = "open" if view.is_open else f"resolved: {view.resolution}"
    lines = [f"{console.bold(view.kind)}  {state}", *_wrapped(_means(view))]
    rows = [
        ("our books", _ours(view)),
        (name.lower() if name != "the provider" else "provider", _theirs(view)),
        *_others(view),
        *_override(view),
        *([("verified for", f"payment {view.detail['settled']}")] if _is_one_operation(view) else []),
        ("found", f"{formats.clock_time(view.opened_at)}, last seen {formats.clock_time(view.last_seen_at)}"),
        *([("participant", view.participant_name)] if view.participant_name else []),
        ("payment", view.payment_id or "not one of ours"),
        ("id", view.discrepancy_id),
    ]
    if not view.is_open:
        when = formats.clock_time(view.resolved_at) if view.resolved_at else "?"
        rows.append(("resolved", f"{when} by {console.clean(view.resolved_by)}: {console.clean(view.note)}"))
    lines += console.label_rows([(label, console.clean(value)) for label, value in rows], width=12)
    return lines + (_wrapped(_do(view)) if view.is_open else [])


def _wrapped(text: str) -> list[str]:
    return [f"  {line}" for line in console.wrap(text, indent="").splitlines()]


def _ours(view: DiscrepancyView) -> str:
    ours = view.detail.get("ours")
    if not ours:
        charged = view.detail.get("charged")
        was_charged = _money(charged) if charged else str(view.charged or "")
        return f"{was_charged} was charged" if was_charged else "no record of it"
    text = f"{_money(ours)}, {ours.get('status')}"
    refunds = [f"{refund['amount']} {refund['state'].lower()}" for refund in ours.get("refunds") or []]
    return text + (f"; refunds: {', '.join(refunds)}" if refunds else "")


def _theirs(view: DiscrepancyView) -> str:
    theirs = view.detail.get("theirs")
    if not theirs:
        paid = view.detail.get("paid") or view.detail.get("went_back")
        return f"{_money(paid)} as {view.detail.get('operation') or view.ref}" if paid else _nothing(view)
    line = f", line {theirs['line']} of {view.detail.get('source')}" if theirs.get("line") else ""
    money = _money(theirs) if theirs.get("amount") is not None else "no amount given"
    return f"{theirs.get('kind')} {theirs.get('stand')}, {money}, as {theirs.get('ref')}{line}"


def _nothing(view: DiscrepancyView) -> str:
    if view.detail.get("override"):
        return f"contradicts operation {view.detail.get('operation')}: see the failed check"
    return "does not know it" if view.kind == "MISSING_AT_PROVIDER" else "no record of it"


def _money(document: dict[str, Any] | str | None) -> str:
    if isinstance(document, str):  # as a gateway wrote it
        return document
    if not document or document.get("amount") is None:
        return "?"
    return f"{formats.amount(Decimal(str(document['amount'])))}\N{NO-BREAK SPACE}{document.get('currency')}"


def _others(view: DiscrepancyView) -> list[tuple[str, str]]:
    names = (view.detail.get("theirs") or {}).get("candidates") or []
    return [
        ("candidates", f"{name}: one of these, to be decided by hand") if not n else ("", name)
        for n, name in enumerate(names)
    ]


def _override(view: DiscrepancyView) -> list[tuple[str, str]]:
    """Return the override: who accepted it despite which failed check, and why."""
    if not view.detail.get("override"):
        return []
    return [
        ("failed check", str(view.detail.get("against"))),
        ("override", f"by {view.detail.get('by')}: {view.detail['override']}"),
    ]


def next_steps(view: DiscrepancyView) -> list[str]:
    """Return the commands that can resolve it."""
    if not view.is_open:
        return []
    steps = [f"procomp-pay status --payment {view.payment_id} --refresh"] if view.payment_id else []
    if _is_one_operation(view):
        steps.append(f"procomp-pay status --payment {view.detail['settled']} --refresh")
    base = f"procomp-pay discrepancies resolve {view.discrepancy_id}"
    return steps + [f'{base} --how {how} --note "…"' for how in ways(view)]


def ways(view: DiscrepancyView) -> list[str]:
    """Return the ways in which a discrepancy of its kind is resolved, the best one first."""
    fix = ["fix"] if view.kind in _FIXABLE else []
    is_refundable = view.kind in _REFUNDABLE and view.payment_id and not _is_one_operation(view)
    refund = ["refund"] if is_refundable else []
    return [*fix, *refund, "accept"]


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
    payment: PaymentFilter = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    next_page: NextOption = False,
    as_json: JsonOption = False,
) -> None:
    """List discrepancies, newest first; by default the open ones."""
    from procomp_pay.services.reconciliation import discrepancies as use

    paging.refuse_unknown(next_page)
    selection = _filter(kind, state, tournament, provider, payment)

    async def work(ctx: AppContext) -> tuple[list[DiscrepancyView], str | None]:
        wanted = replace(
            selection,
            tournament_id=await tournament_id(ctx, tournament, as_json=as_json),
            payment_id=await payment_id(ctx, payment, as_json=as_json),
        )
        return await use.many(ctx, wanted, limit=limit, cursor=cursor)

    views, next_cursor = run_with_context(work)
    if as_json:
        print_page(views, next_cursor)
        return

    if not views:
        console.say("No open discrepancies" if state == "open" else "No discrepancies match", dim=True)
        return
    console.print_long(table(views))
    filters = {
        "kind": kind, "state": state, "tournament": tournament, "provider": provider,
        "payment": payment, "limit": limit,
    }  # fmt: skip
    paging.print_next_page("discrepancies list", filters, next_cursor)


def _filter(
    kind: str | None, state: str, tournament: str | None, provider: str | None, payment: str | None
) -> Any:
    from procomp_pay.domain.discrepancies import DiscrepancyKind
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

    console.print_long(page(view))
    for command in next_steps(view):
        console.hint(command)


@group.command(epilog=_RESOLVE)
def resolve(
    discrepancy: Annotated[str, typer.Argument(help="The discrepancy's id.", metavar="ID")],
    how: Annotated[str, typer.Option(metavar="WAY", help="accept, fix, refund or write-off.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which is recorded.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation of a refund.")
    ] = False,
    approve: ApproveOption = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resolve a discrepancy. Who, when, how and why are recorded."""
    from procomp_pay.services.reconciliation import discrepancies as use

    ways = [choice.value for choice in use.How]
    if how not in ways:
        raise typer.BadParameter(f"--how must be one of {', '.join(ways)}")
    if approve is not None and use.How(how) not in use.NEED_TWO:
        raise typer.BadParameter("--approve is for accept and write-off")
    actor = operator(acting)
    if how == "refund" and not yes:
        console.check_can_ask(yes=yes, as_json=as_json)
        console.confirm("Refund the rest of the payment?")
    settings = load_settings()

    async def work(ctx: AppContext) -> DiscrepancyView:
        acting = actor
        if use.How(how) in use.NEED_TWO:
            request = use.approval_request(await use.one(ctx, discrepancy), use.How(how), note)
            acting = await approved(ctx, settings, actor, request, approve)
        return await use.resolve(ctx, discrepancy, use.How(how), note, acting)

    resolved = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(resolved.full())
        return
    message = f"{resolved.kind} resolved by {resolved.resolved_by}: {resolved.resolution}, {resolved.note}"
    typer.echo(f"✓ {console.clean(message)}")
