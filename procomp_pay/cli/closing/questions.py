"""Ask about what is open in a closing, step by step. Enter leaves anything as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from procomp_pay.cli.closing import tables
from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reconciliation import discrepancies as shown
from procomp_pay.domain.closing import Step
from procomp_pay.domain.errors import PaymentError

if TYPE_CHECKING:
    from procomp_pay.services.closing.evening import Closing
    from procomp_pay.services.closing.figures import ByHand
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

#: Called with a provider and a file: read it in place of the API.
UseStatement = Callable[[str, str], None]


async def ask(
    ctx: AppContext, closing: Closing, actor: Actor, use_statement: UseStatement, asked: set[Step]
) -> bool:
    """Ask about the first open step that was not asked about yet; return False if there is none."""
    from procomp_pay.services.closing.evening import skip

    step = next(
        (
            step
            for step in closing.open
            if step not in asked and step not in (Step.SHEET, Step.SEAL, Step.SIGNATURES)
        ),
        None,
    )
    if step is None:
        return False
    asked.add(step)
    console.say(f"\n{step.value}: {_(tables.STEPS[step])}", bold=True)
    console.say(tables.note(closing.steps[step]), fg="yellow")
    if step is Step.DISCREPANCIES and closing.figures is not None:
        for view in closing.figures.open:
            await _resolve(ctx, view, actor)
        return True
    if step is Step.REFUNDS and closing.figures is not None:
        for refund in closing.figures.by_hand:
            await _record(ctx, refund, actor)
        return True
    if step in (Step.STRIPE, Step.KASPI):
        name = console.prompt(_("Statement file (Enter for none)"), optional=True).strip()
        if name:
            use_statement(step.value, name)
            return True
    reason = console.prompt(_("Reason to skip this step (Enter to leave it open)"), optional=True).strip()
    if reason:
        await skip(ctx, closing, step, reason, actor)
    return True


async def _resolve(ctx: AppContext, view: DiscrepancyView, actor: Actor) -> None:
    """Show a discrepancy as `discrepancies show` does, and resolve it by the same service."""
    from procomp_pay.services.reconciliation import discrepancies as use

    console.print_lines(["", *shown.page(view)], err=True)
    choices = [*shown.ways(view), "write-off"]
    how = console.prompt(f"{' / '.join(choices)} ({_('Enter to leave it open')})", optional=True).strip()
    if how not in choices:
        return
    note = console.prompt(_("Note"), optional=True).strip()
    await _told(use.resolve(ctx, view.discrepancy_id, use.How(how), note, actor))


async def _record(ctx: AppContext, refund: ByHand, actor: Actor) -> None:
    """Record a refund that was made in the Kaspi Pay app, and accept the discrepancy that it was for."""
    from procomp_pay.services.reconciliation import discrepancies as use
    from procomp_pay.services.refunds.manual import MadeInApp, record_made

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
    number = console.prompt(
        _("Number of the refund in its History (Enter if it is not made yet)"), optional=True
    ).strip()
    if not number:
        return
    note = f"refunded in the Kaspi Pay app as {number}"
    if refund.payment_id is not None and not refund.is_second:
        made = MadeInApp(refund.payment_id, number, f"{refund.why}: closing")
        if not await _told(record_made(ctx, made, actor)):
            return
    if refund.discrepancy_id is not None:
        await _told(use.resolve(ctx, refund.discrepancy_id, use.How.ACCEPT, note, actor))


async def _told(work: Awaitable[object]) -> bool:
    """Do it; show an error and go on with the next one."""
    try:
        await work
    except PaymentError as error:
        console.show_error(error)
        return False
    console.say(f"\N{CHECK MARK} {_('Recorded')}", fg="green")
    return True
