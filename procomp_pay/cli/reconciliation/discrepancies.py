"""``discrepancies``: list, show and resolve reconciliation discrepancies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats, paging
from procomp_pay.cli.framework.context import (
    load_settings,
    operator,
    payment_id,
    run_with_context,
    tournament_id,
)
from procomp_pay.cli.framework.formats import print_page
from procomp_pay.cli.framework.language import _, in_words, translated
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
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

#: The meaning of each kind.
_MEANS = {
    "MISSING_LOCALLY": N_("The provider has a payment that is not in our books."),
    "MISSING_AT_PROVIDER": N_("Our books show it as paid, but the provider does not know it."),
    "STATUS_MISMATCH": N_("Our books and the provider have different statuses."),
    "AMOUNT_MISMATCH": N_("The amount paid is not the fee."),
    "CURRENCY_MISMATCH": N_("It was paid in another currency."),
    "REFUND_MISMATCH": N_("The refunds are not the same on both sides."),
    "DUPLICATE_PAYMENT": N_("The same fee was paid twice."),
    "LATE_PAYMENT": N_("It was paid after the payment had ended here."),
    "STUCK": N_("It is still open long after its expiry, and the provider does not report its outcome."),
    "PARTICIPANT_MISMATCH": N_("The payment and the participant do not match."),
}
_OTHER_MONEY = N_(
    "Refund it, or accept the amount. A payment that did not settle and whose money was given back at the "
    "provider is cancelled after that."
)
_DO = {
    "MISSING_LOCALLY": N_(
        "Find out whose payment it is. If it came by Kaspi, verifying its receipt for them closes this: "
        "procomp-pay verify-kaspi. Else refund it at the provider, and accept this with a note."
    ),
    "MISSING_AT_PROVIDER": N_("Check that it is the right account, then accept it or write it off."),
    "STATUS_MISMATCH": N_(
        "Resolve it with fix to ask the provider again. If it was another participant's receipt, accept "
        "this, then move the payment: procomp-pay payment move."
    ),
    "AMOUNT_MISMATCH": _OTHER_MONEY,
    "CURRENCY_MISMATCH": _OTHER_MONEY,
    "REFUND_MISMATCH": N_("Compare the refunds on both sides. Resolving with fix takes over the provider's."),
    "DUPLICATE_PAYMENT": N_("Refund the second payment."),
    "LATE_PAYMENT": N_("Accept it if the participant can still take part; otherwise refund it."),
    "STUCK": N_("Check it in the provider's app. Resolving with fix asks the provider again."),
    "PARTICIPANT_MISMATCH": N_("Check the participant, then refund the payment or accept it."),
}
_REFUNDS = {
    "PENDING": N_("pending"),
    "SUCCEEDED": N_("succeeded"),
    "FAILED": N_("failed"),
    "CANCELLED": N_("cancelled"),
}
#: The same for an operation that was verified for another payment before Kaspi named it for this one.
_ONE_OPERATION_MEANS = N_(
    "Kaspi names one operation for this payment that was verified for another one, too: the money came once, "
    "and both payments count it."
)
_ONE_OPERATION_DO = N_(
    "Give nothing back as a second payment. Find out which of the two was paid, and accept this with a note "
    "that names the other one. Reports count the sum twice, also after that: close differs by it in the step "
    "sums, which is skipped with the same note."
)
#: The same where its money is of another amount than this payment's, which is not settled.
_ONE_OPERATION_UNSETTLED = N_(
    "The operation was verified for another payment before Kaspi named it for this one: give nothing back "
    "before you know which of the two was paid."
)
#: The same for a dispute beside the one that is shown with its payment.
_DISPUTE_MEANS = N_("The payment has another dispute beside the one that it shows.")
_DISPUTE_DO = N_(
    "Answer the dispute at Stripe: this closes by itself once it is won. "
    "Accepting it does not allow a refund."
)
_REFUNDABLE = frozenset({"AMOUNT_MISMATCH", "CURRENCY_MISMATCH", "DUPLICATE_PAYMENT", "LATE_PAYMENT",
                         "PARTICIPANT_MISMATCH"})  # fmt: skip
_FIXABLE = frozenset({"STATUS_MISMATCH", "REFUND_MISMATCH", "STUCK", "MISSING_AT_PROVIDER"})


def table(views: Sequence[DiscrepancyView]) -> list[str]:
    """Return a list of discrepancies: a line for each where there is room or no terminal, else three."""
    head = (
        _("KIND"), _("PROVIDER"), _("SINCE"), "ID", _("PAYMENT"), _("AMOUNT"), _("PARTICIPANT"), _("WHAT"),
    )  # fmt: skip
    lines = console.grid(head, [_row(view) for view in views], right=(5,))
    if console.is_wide(max(map(console.width_of, lines[1:]), default=0)):
        return lines
    lines = []
    for view in views:
        kind, state = wording.code(view.kind), "" if view.is_open else f"  {_how(view)}"
        about = "  ".join(part for part in (amount(view), console.clean(view.participant_name or "")) if part)
        space = max(20, console.columns() - console.width_of(kind) - console.width_of(state) - 2)
        lines.append(f"{console.bold(kind)}  {console.shortened(about, space)}{state}")
        lines.append(f"  {console.shortened(console.clean(_detail(view)), console.columns() - 2)}")
        lines.append(console.dim(f"  {view.discrepancy_id}  {formats.clock_time(view.opened_at)}"))
    return lines


def _row(view: DiscrepancyView) -> list[str]:
    return [
        wording.code(view.kind),
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
    return formats.total(*view.money) if view.money else ""


def _detail(view: DiscrepancyView) -> str:
    what = view.detail.get("what") or _means(view) or N_("the two sides do not match")
    return translated(str(what))


def _how(view: DiscrepancyView) -> str:
    return in_words(view.resolution or "", wording.HOW)


def _means(view: DiscrepancyView) -> str:
    if "dispute_state" in view.detail:
        return _DISPUTE_MEANS
    return _ONE_OPERATION_MEANS if _is_one_operation(view) else _MEANS.get(view.kind, "")


def _do(view: DiscrepancyView) -> str:
    if "settled" in view.detail and not _is_one_operation(view):
        return _ONE_OPERATION_UNSETTLED
    if "dispute_state" in view.detail:
        return _DISPUTE_DO
    return _ONE_OPERATION_DO if _is_one_operation(view) else _DO.get(view.kind, "")


def _is_one_operation(view: DiscrepancyView) -> bool:
    return view.kind == "DUPLICATE_PAYMENT" and "settled" in view.detail


def page(view: DiscrepancyView) -> list[str]:
    """Return a discrepancy with its explanation."""
    state = _("not resolved") if view.is_open else _("resolved: %(how)s", how=_how(view))
    kind = wording.code(view.kind)
    typed = "" if kind == view.kind else f" ({view.kind.lower()})"  # as --kind takes it
    lines = [f"{console.bold(kind)}{typed}  {state}", *_wrapped(_(_means(view)))]
    seen = _(
        "%(found)s, last seen %(seen)s",
        found=formats.clock_time(view.opened_at),
        seen=formats.clock_time(view.last_seen_at),
    )
    rows = [
        (_("our books"), _ours(view)),
        (view.provider or _("provider"), _theirs(view)),
        *_others(view),
        *_override(view),
        *([(_("verified for"), view.detail["settled"])] if "settled" in view.detail else []),
        (_("found"), seen),
        *([(_("participant"), view.participant_name)] if view.participant_name else []),
        (_("payment"), view.payment_id or _("not one of ours")),
        ("id", view.discrepancy_id),
    ]
    if not view.is_open:
        when = formats.clock_time(view.resolved_at) if view.resolved_at else "?"
        resolved = _(
            "%(time)s by %(name)s: %(note)s",
            time=when,
            name=console.clean(view.resolved_by),
            note=console.clean(wording.reason(view.note or "")),
        )
        rows.append((_("resolved"), resolved))
    width = max(12, *(console.width_of(label) for label, _value in rows))
    lines += console.label_rows([(label, console.clean(value)) for label, value in rows], width=width)
    return lines + (_wrapped(_(_do(view))) if view.is_open else [])


def _wrapped(text: str) -> list[str]:
    return [f"  {line}" for line in console.wrap(text, indent="").splitlines()]


def _ours(view: DiscrepancyView) -> str:
    ours = view.detail.get("ours")
    if not ours:
        charged = view.detail.get("charged")
        if charged is None and view.charged is not None:
            charged = {"amount": view.charged.amount, "currency": view.charged.currency}
        return _("%(money)s was charged", money=_money(charged)) if charged else _("no record of it")
    text = f"{_money(ours)}, {wording.status(ours.get('status'))}"
    refunds = ", ".join(
        f"{refund['amount']} {_(_REFUNDS.get(refund['state'], refund['state']))}"
        for refund in ours.get("refunds") or []
    )
    return text + ("; " + _("refunds: %(refunds)s", refunds=refunds) if refunds else "")


def _theirs(view: DiscrepancyView) -> str:
    theirs = view.detail.get("theirs")
    if not theirs:
        paid = view.detail.get("paid") or view.detail.get("went_back")
        number = view.detail.get("operation") or view.ref
        return _("%(money)s as %(number)s", money=_money(paid), number=number) if paid else _nothing(view)
    kind, stand = wording.code(str(theirs.get("kind"))), in_words(str(theirs.get("stand")), wording.STANDS)
    money = _money(theirs) if theirs.get("amount") is not None else _("no amount given")
    text = f"{kind} {stand}, {_('%(money)s, as %(number)s', money=money, number=theirs.get('ref'))}"
    if not theirs.get("line"):
        return text
    file = str(view.detail.get("source")).removeprefix("statement ")
    return text + ", " + _("line %(n)s of %(file)s", n=theirs["line"], file=file)


def _nothing(view: DiscrepancyView) -> str:
    if view.detail.get("override"):
        number = view.detail.get("operation")
        return _("contradicts operation %(number)s: see the failed check", number=number)
    return _("does not know it") if view.kind == "MISSING_AT_PROVIDER" else _("no record of it")


def _money(document: dict[str, Any] | str | None) -> str:
    if isinstance(document, str):  # as a gateway wrote it
        return document
    if not document or document.get("amount") is None:
        return "?"
    return formats.total(Decimal(str(document["amount"])), str(document.get("currency")))


def _others(view: DiscrepancyView) -> list[tuple[str, str]]:
    names = (view.detail.get("theirs") or {}).get("candidates") or []
    return [
        (_("candidates"), _("%(name)s: one of these, to be decided by hand", name=name))
        if not n
        else ("", name)
        for n, name in enumerate(names)
    ]


def _override(view: DiscrepancyView) -> list[tuple[str, str]]:
    """Return the override: who accepted it despite which failed check, and why."""
    if not view.detail.get("override"):
        return []
    return [
        (_("failed check"), translated(str(view.detail.get("against")))),
        (_("override"), f"{_('by %(name)s', name=view.detail.get('by'))}: {view.detail['override']}"),
    ]


def next_steps(view: DiscrepancyView) -> list[str]:
    """Return the commands that can resolve it."""
    if not view.is_open:
        return []
    steps = [f"procomp-pay status --payment {view.payment_id} --refresh"] if view.payment_id else []
    if "settled" in view.detail:
        steps.append(f"procomp-pay status --payment {view.detail['settled']} --refresh")
    base = f"procomp-pay discrepancies resolve {view.discrepancy_id}"
    return steps + [f'{base} --how {how} --note "…"' for how in ways(view)]


def ways(view: DiscrepancyView) -> list[str]:
    """Return the ways in which a discrepancy of its kind is resolved, the best one first."""
    fix = ["fix"] if view.kind in _FIXABLE else []
    is_refundable = view.kind in _REFUNDABLE and view.payment_id and "settled" not in view.detail
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
        nothing = _("No open discrepancies") if state == "open" else _("No discrepancies match")
        console.say(nothing, dim=True)
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
        raise typer.BadParameter(
            N_("%(option)s must be one of %(known)s", option="--kind", known=", ".join(kinds).lower())
        )
    if state not in ("open", "resolved", "all"):
        raise typer.BadParameter(
            N_("%(option)s must be one of %(known)s", option="--state", known="open, resolved, all")
        )
    if provider not in (None, "stripe", "kaspi"):
        raise typer.BadParameter(
            N_("%(option)s must be one of %(known)s", option="--provider", known="stripe, kaspi")
        )
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
        raise typer.BadParameter(
            N_("%(option)s must be one of %(known)s", option="--how", known=", ".join(ways))
        )
    if approve is not None and use.How(how) not in use.NEED_TWO:
        raise typer.BadParameter(N_("--approve is for accept and write-off"))
    actor = operator(acting)
    if how == "refund" and not yes:
        console.check_can_ask(yes=yes, as_json=as_json)
        console.confirm(N_("Refund the rest of the payment?"))
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
    message = _(
        "%(kind)s resolved by %(name)s: %(how)s, %(note)s",
        kind=wording.code(resolved.kind),
        name=resolved.resolved_by,
        how=_how(resolved),
        note=resolved.note,
    )
    typer.echo(f"✓ {console.clean(message)}")
