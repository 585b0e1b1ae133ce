"""``maintain``: one pass of all background work, for cron."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import (
    JsonOption,
    clean,
    hint,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.domain.errors import PaymentError, Unavailable

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.maintenance.run import Pass

_EXAMPLES = """[bold]Examples[/]

  procomp-pay maintain
  * * * * *  procomp-pay maintain >> /var/log/procomp-pay.log 2>&1

Exit code 6: something in the pass failed and is named. 5: another one is running,
or the database does not answer."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(maintain)


def maintain(as_json: JsonOption = False) -> None:
    """Do all background work once: events, open payments, refunds, letters and alerts.

    Not needed beside a running `serve`; harmless there. Two never run at once.
    """
    using = settings()
    warn_of_play_money(using, as_json=as_json)
    done = run_with_context(lambda ctx: _pass_alone(ctx, using), using=using)
    problems = done.events_failed + len(done.failures)
    if as_json:
        counts = {
            "fetched": done.fetched,
            "events": done.events,
            "events_failed": done.events_failed,
            "looked_at": done.looked_at,
            "moved": done.moved,
            "delivered": done.delivered,
            "not_delivered": done.not_delivered,
        }
        print_json(counts | {"failures": done.failures})
    else:
        typer.echo(str(done))
        _name_problems(done)
    if problems:
        raise typer.Exit(6)


async def _pass_alone(ctx: AppContext, using: Settings) -> Pass:
    from procomp_pay.services.maintenance.run import one_pass
    from procomp_pay.services.maintenance.stalled_work import alert_stalled_work
    from procomp_pay.storage.database.locks import maintenance_lock

    async with maintenance_lock(ctx.db) as ours:
        if not ours:
            raise Unavailable(
                "Another maintain is running", next_step="let it finish; cron will come again by itself"
            )
        await alert_stalled_work(ctx)  # before it is made good
        done = await one_pass(ctx)
        if using.audit_seal_hours is not None:
            await _seal(ctx, using.audit_seal_hours, done)
        return done


async def _seal(ctx: AppContext, hours: int, done: Pass) -> None:
    """Seal the audit trail where its time has come; its trouble is one of the pass's failures."""
    from datetime import timedelta

    from procomp_pay.services.audit.seals import seal_if_due

    try:
        await seal_if_due(ctx, "maintain", timedelta(hours=hours))
    except PaymentError as error:
        done.failures.append(f"audit seal: {error.message}")


def _name_problems(done: Pass) -> None:
    for failure in done.failures:
        say(f"✗ {clean(failure)}", fg="red")
    if done.events_failed:
        one = done.events_failed == 1
        what = "1 event" if one else f"{done.events_failed} events"
        say(f"✗ {what} could not be handled; {'it is' if one else 'they are'} tried again", fg="red")
        hint("procomp-pay events list")
