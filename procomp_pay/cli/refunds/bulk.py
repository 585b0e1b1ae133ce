"""``refund --tournament --all``: the preview, the confirmation, the run and its report."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    load_settings,
    named_tournament,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.framework.progress import bar
from procomp_pay.cli.framework.second_person import approved
from procomp_pay.cli.refunds.options import RefundOptions
from procomp_pay.domain.operators import ApprovalAction, ApprovalRequest, Right
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.refunds import bulk
from procomp_pay.services.refunds.bulk_report import Ending, Group, Line, Report
from procomp_pay.services.registrations.tournaments import tournament_view

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext

#: Payments shown of each outcome; a dry run and ``--json`` have more.
_MOST_SHOWN = 20
_TITLES = {
    Ending.TO_DO: N_("to refund"),
    Ending.BACK: N_("refunded"),
    Ending.ON_ITS_WAY: N_("pending: the bank is processing them"),
    Ending.UNKNOWN: N_("outcome not known yet, tracked"),
    Ending.FAILED: N_("NOT refunded"),
    Ending.DISPUTED: N_("skipped: disputed"),
    Ending.BY_HAND: N_("to refund by hand"),
}


def refund_all(tournament: str, options: RefundOptions) -> None:
    """Refund all payments of a tournament."""
    settings = load_settings()
    actor = operator(options.acting)

    async def work(ctx: AppContext) -> Report | None:
        named = await named_tournament(ctx, tournament, as_json=options.as_json, whole_name=options.yes)
        view = await tournament_view(ctx, named)
        request = bulk.BulkRefundRequest(view.tournament_id, options.reason)
        preview = await bulk.preview(ctx, request)
        show_mode_notice(settings, as_json=options.as_json)
        total = preview.of(Ending.TO_DO).count
        if options.as_json and options.dry_run:
            _print_document(preview, request, dry_run=True)
        elif not options.as_json:
            _show(
                preview,
                _("%(name)s: what would happen (%(reason)s)", name=view.name, reason=options.reason),
                err=not options.dry_run,
                most=None if options.dry_run else _MOST_SHOWN,
            )
        if options.dry_run:
            return None
        if total and not options.yes:
            _confirm(preview, view.tournament_id)
        approval = _approval(request, view.name, preview)
        acting = await approved(ctx, settings, actor, approval, options.approver)
        with _until_ctrl_c() as stop, bar(_("refunding"), lambda: total, quiet=options.as_json) as show_count:
            report = await bulk.run(
                ctx, request, acting, only=None if ctx.operator is None else approval.payments,
                on_progress=_counted(show_count), stop=stop,
            )  # fmt: skip
        if options.as_json:
            _print_document(report, request, dry_run=False)
        else:
            _show(report, view.name, err=False)
            _show_next_step(report)
        return report

    report = run_with_context(work, settings=settings)
    if report is None:
        if not options.as_json:
            console.say(_("Dry run: nothing was refunded."), fg="yellow")
    elif code := exit_code(report):
        raise typer.Exit(code)


def _confirm(preview: Report, tournament_id: str) -> None:
    """Ask whether to refund what was shown, and tell how to see what was not.

    :raises typer.Exit: code 3, the answer was no.
    """
    total = preview.of(Ending.TO_DO).count
    if total > _MOST_SHOWN:
        console.hint(
            N_(
                'all of them: procomp-pay refund --tournament %(id)s --all --reason "…" --dry-run',
                id=tournament_id,
            )
        )
    sums = " + ".join(formats.total(amount, currency) for currency, amount in sorted(_sums(preview).items()))
    console.confirm(_("Refund %(sums)s of %(total)s payments?", sums=sums, total=total))


def _approval(request: bulk.BulkRefundRequest, name: str, preview: Report) -> ApprovalRequest:
    """Return what a second operator approves: the tournament, the reason, and these payments and sums."""
    subject = {"tournament": name, "id": request.tournament_id, "reason": request.reason}
    return ApprovalRequest(
        ApprovalAction.REFUND_ALL,
        subject,
        _sums(preview),
        Right.FINANCE,
        request.tournament_id,
        preview.to_do,
    )


def _sums(preview: Report) -> dict[str, Decimal]:
    """Return what is to be refunded by currency."""
    sums: dict[str, Decimal] = {}
    for (_method, currency), total in preview.of(Ending.TO_DO).sums.items():
        sums[str(currency)] = sums.get(str(currency), Decimal(0)) + total.amount
    return sums


def _print_document(report: Report, request: bulk.BulkRefundRequest, *, dry_run: bool) -> None:
    console.print_json({"dry_run": dry_run, "tournament_id": request.tournament_id} | report.full())


def _counted(show: Callable[[int], None]) -> Callable[[Line], None]:
    """Return a callback that counts refund requests; skipped payments are not part of the total."""
    count = 0

    def on_progress(line: Line) -> None:
        nonlocal count
        if line.ending not in (Ending.DISPUTED, Ending.BY_HAND):
            count += 1
            show(count)

    return on_progress


def exit_code(report: Report) -> int:
    """Return 130 after Ctrl-C, 5 if running it again may help, 6 if manual review is needed, else 0."""
    if report.stopped:
        return 130
    if report.gave_up or report.of(Ending.UNKNOWN).count:
        return 5
    return 6 if report.needs_person else 0


def _show(report: Report, title: str, *, err: bool, most: int | None = _MOST_SHOWN) -> None:
    lines = [console.bold(console.clean(title))]
    for ending, heading in _TITLES.items():
        group = report.of(ending)
        if group.count:
            lines.append(f"  {_(heading)}")
            lines += _totals(group)
            lines += _names(group, err=err, most=most)
    notes = [_("nothing is left to refund")] if len(lines) == 1 else []
    if report.refunded_before:
        notes.append(_("%(n)s were refunded before", n=report.refunded_before))
    if report.still_open:
        notes.append(_("%(n)s can still be paid: cancel them, or run this again later", n=report.still_open))
    lines += [console.wrap(f"  {note}", "  ", err=err) for note in notes]
    console.print_lines(lines, err=err)


def _totals(group: Group) -> list[str]:
    return [
        f"    {method_name(method):<12} {total.count:>6}  {formats.amount(total.amount):>18} {currency}"
        for (method, currency), total in sorted(group.sums.items())
    ]


def _names(group: Group, *, err: bool, most: int | None) -> list[str]:
    reasons = {line.why for line in group.named}
    lines = []
    if len(reasons) == 1 and "" not in reasons:
        why = "    " + console.clean(translated(next(iter(reasons))))
        lines = [console.dim(line) for line in console.wrap(why, "    ", err=err).split("\n")]
    shown = group.named[:most]
    for line in shown:
        why = f"  {console.dim(console.clean(translated(line.why)))}" if len(reasons) > 1 else ""
        lines += console.wrap(f"      {_payment(line)}{why}", "        ", err=err).split("\n")
    if shown and group.count > len(shown):
        lines.append(console.dim("      " + _("… and %(n)s more", n=group.count - len(shown))))
    return lines


def _payment(line: Line) -> str:
    category = f" ({console.clean(line.view.category)})" if line.view.category else ""
    name = f"{console.clean(line.view.participant_name)}{category}"
    money = formats.total(line.money.amount, line.money.currency)  # as the totals beside it
    return f"{name}  {money}  {line.view.payment_id}"


def _show_next_step(report: Report) -> None:
    if report.stopped:
        console.say(_("Stopped. The same command continues with the rest."), fg="yellow")
    elif report.gave_up:
        console.say(
            _("Stopped: the provider does not answer. The same command continues later."), fg="yellow"
        )
    elif report.of(Ending.UNKNOWN).count:
        console.say(
            _("Some outcomes are not known yet: run the same command again in a minute."), fg="yellow"
        )
    if report.of(Ending.DISPUTED).count:
        console.hint("procomp-pay list --disputed")


@contextmanager
def _until_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C stop after the refunds in progress, and a second one at once; yield a check for it."""
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        pressed.set()
        loop.remove_signal_handler(signal.SIGINT)
        console.say(
            _("\nStopping after the refunds in progress. Press Ctrl-C again to stop at once."), fg="yellow"
        )

    with suppress(NotImplementedError):  # Windows has no handlers on its loop
        loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield pressed.is_set
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
