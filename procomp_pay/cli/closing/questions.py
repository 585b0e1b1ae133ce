"""Ask about what is open in a closing, step by step. Enter leaves anything as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from procomp_pay.cli.closing import tables
from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reconciliation import discrepancies as shown
from procomp_pay.cli.reports.cells import as_text
from procomp_pay.domain.closing import LAST, Step, may_begin
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.closing.closing import Closing
    from procomp_pay.services.closing.figures import ByHand
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

#: Called with a step and what was typed: read a provider's file in place of its API, or export into a folder.
UseFile = Callable[[Step, str], None]


_FILES = {
    Step.STRIPE: N_("Statement file (Enter for none)"),
    Step.KASPI: N_("Statement file (Enter for none)"),
    Step.PAYOUTS: N_("The bank's statement (Enter for none)"),
    Step.EXPORTS: N_("Folder for the exports (Enter for none)"),
}


async def ask(
    ctx: AppContext, closing: Closing, actor: Actor, use_file: UseFile, asked: dict[Step, bool]
) -> bool:
    """Ask about the first open step that was not asked about yet; return False if there is none.

    :param asked: the steps that were asked about, the newest last, and whether anything was typed.
    :raises PaymentError: what was typed cannot be used.
    """
    from procomp_pay.services.closing.close_day import skip

    step = next((step for step in closing.open if step not in asked and _can_be_asked(step, closing)), None)
    if step is None:
        return False
    asked[step] = False
    _show(step, closing)
    if step is Step.DISCREPANCIES and closing.figures is not None:
        for view in closing.figures.open:
            await _resolve(ctx, view, actor)
        return True
    if step is Step.REFUNDS and closing.figures is not None:
        for refund in closing.figures.by_hand:
            show_refund(ctx, refund)
        console.say("\n" + _("Then, to go on:"))
        console.hint(going_on(closing))
        return True
    if step in _FILES:
        name = console.prompt(_(_FILES[step]), optional=True).strip()
        if name:
            asked[step] = True
            use_file(step, name)
            return True
    reason = console.prompt(_("Reason to skip this step (Enter to leave it open)"), optional=True).strip()
    if reason:
        asked[step] = True
        await skip(ctx, closing, step, reason, actor)
    return True


def _show(step: Step, closing: Closing) -> None:
    console.say(f"\n{step.value}: {_(tables.STEPS[step])}", bold=True)
    console.say(tables.note(closing.steps[step]), fg="yellow")
    for line in _open_in(step, closing):
        console.say(console.clean(line))
    if step is Step.PAYOUTS:
        console.hint("procomp-pay payouts match")


def _open_in(step: Step, closing: Closing) -> list[str]:
    """Return what is open in a step about which nothing else is shown, a line for each."""
    if step is Step.PAYOUTS:
        return [tables.item_text(item) for item in closing.steps[step].items]
    if step is Step.PENDING and closing.figures is not None:
        rows = tables.unfinished(closing.figures).rows
        return ["  ".join(text for cell in row if (text := as_text(cell))) for row in rows]
    return []


def _can_be_asked(step: Step, closing: Closing) -> bool:
    return step not in LAST or (step is Step.EXPORTS and may_begin(step, closing.steps.values()))


def going_on(closing: Closing) -> str:
    """Return the command that goes on with a closing."""
    tournament = f" --tournament {closing.tournament[0]}" if closing.tournament else ""
    return f"procomp-pay close --date {closing.day.isoformat()}{tournament}"


async def _resolve(ctx: AppContext, view: DiscrepancyView, actor: Actor) -> None:
    """Show a discrepancy as `discrepancies show` does, and resolve it by the same service.

    Where there are operators, a second one approves that money is given up: by the command that is shown.
    """
    from procomp_pay.services.reconciliation import discrepancies as use

    console.print_lines(["", *shown.page(view)], err=True)
    choices = [*shown.ways(view), "write-off"]
    question = f"{' / '.join(choices)} ({_('Enter to leave it open')})"
    while how := console.prompt(question, optional=True).strip():
        if how not in choices:
            continue
        if ctx.operator is not None and use.How(how) in use.NEED_TWO:
            console.hint(resolving(ctx, view.discrepancy_id, how, "…"))
            return
        note = console.prompt(_("Note"), optional=True).strip()
        try:
            await use.resolve(ctx, view.discrepancy_id, use.How(how), note, actor)
        except PaymentError as error:  # such as no note
            console.show_error(error)
        else:
            console.say(f"\N{CHECK MARK} {_('Recorded')}", fg="green")
            return


def resolving(ctx: AppContext, discrepancy_id: str, how: str, note: str) -> str:
    """Return the command that resolves a discrepancy."""
    approve = " --approve NAME" if ctx.operator is not None else ""
    return f'procomp-pay discrepancies resolve {discrepancy_id} --how {how} --note "{note}"{approve}'


def show_refund(ctx: AppContext, refund: ByHand) -> None:
    """Show a refund to be made in the Kaspi Pay app, and the command that records it afterwards."""
    console.say(
        "\n"
        + _(
            "Refund %(amount)s %(currency)s of operation %(number)s to %(name)s in the Kaspi Pay app.",
            amount=refund.amount,
            currency=refund.currency,
            number=console.clean(refund.number),
            name=console.clean(refund.name),
        )
    )
    console.say(_("NUMBER is the refund's own number in its History:"))
    if refund.is_second and refund.discrepancy_id is not None:
        note = _("refunded in the Kaspi Pay app as NUMBER")
        console.hint(resolving(ctx, refund.discrepancy_id, "accept", note))
    else:
        console.hint(
            f"procomp-pay refund {refund.payment_id} --made-in-app NUMBER --amount {refund.amount}"
            ' --reason "…"'
        )
