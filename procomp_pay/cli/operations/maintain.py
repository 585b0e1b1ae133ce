"""``maintain``: run all background work once, for cron."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, run_with_context, show_mode_notice
from procomp_pay.cli.framework.options import JsonOption
from procomp_pay.domain.errors import PaymentError, Unavailable

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.maintenance.run import Pass

_EXAMPLES = """[bold]Examples[/]

  procomp-pay maintain
  * * * * *  procomp-pay maintain >> /var/log/procomp-pay.log 2>&1

Exit code 6: some work failed; it is listed. 5: another maintain is running, or the
database does not answer."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(maintain)


def maintain(as_json: JsonOption = False) -> None:
    """Run all background work once, for cron.

    That is: events, open payments, refunds and notifications. Not needed beside a
    running `serve`, but harmless. Two never run at the same time.
    """
    settings = load_settings()
    show_mode_notice(settings, as_json=as_json)
    result = run_with_context(lambda ctx: _pass_alone(ctx, settings), settings=settings)
    problems = result.events_failed + len(result.failures)
    if as_json:
        counts = {
            "fetched": result.fetched,
            "events": result.events,
            "events_failed": result.events_failed,
            "looked_at": result.looked_at,
            "moved": result.moved,
            "delivered": result.delivered,
            "not_delivered": result.not_delivered,
            "pruned": result.pruned,
        }
        console.print_json(counts | {"failures": result.failures})
    else:
        typer.echo(str(result))
        _show_problems(result)
    if problems:
        raise typer.Exit(6)


async def _pass_alone(ctx: AppContext, settings: Settings) -> Pass:
    from procomp_pay.services.maintenance.health_alerts import alert_stalled_work, alert_unknown_labels
    from procomp_pay.services.maintenance.run import one_pass
    from procomp_pay.storage.database.locks import only_process

    async with only_process(ctx.db, "maintain") as ours:
        if not ours:
            raise Unavailable(
                "Another maintain is running", next_step="let it finish; cron starts the next one"
            )
        await alert_stalled_work(ctx)  # before this pass catches up
        await alert_unknown_labels(ctx)
        done = await one_pass(ctx)
        if settings.audit_seal_hours is not None:
            await _seal(ctx, settings.audit_seal_hours, done)
        return done


async def _seal(ctx: AppContext, hours: int, done: Pass) -> None:
    """Seal the audit trail if a seal is due; an error counts as a failure of the pass."""
    from datetime import timedelta

    from procomp_pay.services.audit.seals import seal_if_due

    try:
        await seal_if_due(ctx, "maintain", timedelta(hours=hours))
    except PaymentError as error:
        done.failures.append(f"audit seal: {error.message}")


def _show_problems(result: Pass) -> None:
    for failure in result.failures:
        console.say(f"✗ {console.clean(failure)}", fg="red")
    if result.events_failed:
        events = formats.counted(result.events_failed, "event")
        console.say(f"✗ {events} could not be processed; retries follow", fg="red")
        console.hint("procomp-pay events list")
