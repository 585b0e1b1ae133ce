"""``outbox``: list, show, replay and test outgoing e-mails, webhooks and alerts."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import payment_id, run_with_context
from procomp_pay.cli.framework.options import JsonOption, PaymentFilter, command_group
from procomp_pay.domain.destinations import Destination

if TYPE_CHECKING:
    from procomp_pay.storage.models.notifications import Delivery
    from procomp_pay.storage.notifications.listing import Told

_LIST = """[bold]Examples[/]

  procomp-pay outbox list
  procomp-pay outbox list --state dead
  procomp-pay outbox list --topic alert --limit 10

States: waiting, delivered, dead (given up), undeliverable (no such address),
skipped (not configured, or superseded), held (the same alert was sent within the hour)."""
_SHOW = """[bold]Examples[/]

  procomp-pay outbox show MESSAGE"""
_REPLAY = """[bold]Examples[/]

  procomp-pay outbox replay MESSAGE
  procomp-pay outbox replay --dead --dry-run
  procomp-pay outbox replay --dead --destination platform_webhook

A message keeps its id, so that the receiver can recognise a repetition.
What was delivered is not sent again. `serve` or `maintain` sends it."""
_TEST = """[bold]Examples[/]

  procomp-pay outbox test
  procomp-pay outbox test --to me@example.com

Exit code 5: at least one channel rejected the test message."""


class State(StrEnum):
    """The values of ``--state``."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    UNDELIVERABLE = "undeliverable"
    SKIPPED = "skipped"
    HELD = "held"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("List, replay and test outgoing e-mails, webhooks and alerts.")
    group.command("list", epilog=_LIST)(list_messages)
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_REPLAY)(replay)
    group.command("test", epilog=_TEST)(try_out)
    app.add_typer(group, name="outbox")


def list_messages(
    state: Annotated[
        State | None, typer.Option(metavar="STATE", help="Only deliveries in this state; see below.")
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only topics that start with this: payment, alert.dispute."),
    ] = None,
    payment: PaymentFilter = None,
    limit: Annotated[int, typer.Option(metavar="N", help="Show at most N messages.", min=1, max=500)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List messages, newest first, with their deliveries."""

    async def work(ctx: Any) -> list[Told]:
        from procomp_pay.services.notifications import outbox

        filters = {
            "state": state.value if state else None,
            "topic": topic,
            "payment_id": await payment_id(ctx, payment, as_json=as_json),
        }
        return await outbox.newest(ctx, limit=limit, **filters)

    messages = run_with_context(work)
    if as_json:
        from procomp_pay.services.notifications.outbox import as_document

        console.print_json({"items": [as_document(message) for message in messages]})
        return
    if not messages:
        console.say("No messages match" if state or topic or payment else "No messages yet")
    else:
        console.print_long(line for message in messages for line in _lines(message))


def _lines(view: Told) -> list[str]:
    message, deliveries = view
    payment = f" · payment {message.payment_id}" if message.payment_id else ""
    lines = [
        f"{message.id}  {console.clean(message.topic)} · {formats.clock_time(message.created_at)}{payment}"
    ]
    lines += [console.wrap(f"    {_delivery_line(delivery)}", indent=" " * 6) for delivery in deliveries]
    if message.skipped:
        note = f"{'held: ' if message.state == 'held' else ''}{console.clean(message.skipped)}"
        lines.append(console.wrap(f"    {note}", indent=" " * 6))
    elif not deliveries:
        lines.append(f"    {message.state}")
    return lines


def _delivery_line(row: Delivery) -> str:
    to = f" to {console.clean(row.recipient)}" if row.recipient else ""
    when = row.finished_at or (row.next_attempt_at if row.state == "waiting" else None)
    at = f"{' since' if row.state == 'dead' else ', next try' if row.state == 'waiting' else ''} "
    tries = f", {row.attempts} attempts" if row.attempts > 1 else ""
    error = f": {console.clean(row.last_error)}" if row.last_error else ""
    time = f"{at}{formats.clock_time(when)}" if when else ""
    return f"{_MARKS[row.state]} {row.destination.replace('_', ' ')}{to} {row.state}{time}{tries}{error}"


_MARKS = {"waiting": "…", "delivered": "✓", "dead": "✗", "undeliverable": "✗", "skipped": "-"}


def show(
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The id of a message or of a delivery.")],
    as_json: JsonOption = False,
) -> None:
    """Show a message with its contents and deliveries."""

    async def work(ctx: Any) -> Told:
        from procomp_pay.services.notifications import outbox

        return await outbox.one(ctx, message)

    view = run_with_context(work)
    from procomp_pay.services.notifications.outbox import as_document

    document = as_document(view)
    if as_json:
        console.print_json(document)
        return
    console.print_lines(_lines(view))
    for delivery in view[1]:
        typer.echo(f"    {delivery.destination.replace('_', ' '):<18} delivery {delivery.id}")
    for name, value in document["payload"].items():
        if value is not None:
            typer.echo(console.wrap(f"  {console.clean(name):<20} {console.clean(value)}", indent=" " * 23))
    if any(delivery.state == "dead" for delivery in view[1]):
        console.hint(f"procomp-pay outbox replay {view[0].id}")


def replay(
    message: Annotated[
        str | None, typer.Argument(metavar="MESSAGE", help="The id of a message or of a delivery.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All deliveries that were given up.")] = False,
    destination: Annotated[
        Destination | None,
        typer.Option(
            metavar="NAME",
            help="With --dead: participant_mail, platform_webhook, alert_webhook or alert_mail.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how many; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send undelivered messages again."""
    if (message is None) == (not dead) or (destination is not None and not dead):
        raise typer.BadParameter("give a MESSAGE, or --dead (optionally with --destination)")

    async def work(ctx: Any) -> int:
        from procomp_pay.services.notifications import outbox

        if message is not None:
            return await outbox.replay_one(ctx, message, dry_run=dry_run)
        return await outbox.replay_dead(ctx, destination, dry_run=dry_run)

    count = run_with_context(work)
    if as_json:
        console.print_json({"deliveries": count, "dry_run": dry_run})
        return
    deliveries = f"{count} {'delivery' if count == 1 else 'deliveries'}"
    typer.echo(f"{deliveries} would be sent again" if dry_run else f"{deliveries} will be sent again")
    if count and not dry_run:
        console.hint("procomp-pay maintain   (a running serve does it by itself)")


def try_out(
    to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Send a test e-mail to this address.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message through every configured channel."""
    from procomp_pay.domain.notifications import DeliveryOutcome

    async def work(ctx: Any) -> Any:
        from procomp_pay.services.notifications import outbox

        return await outbox.try_out(ctx, to)

    trials = run_with_context(work)
    failed = any(
        trial.answer.outcome not in (DeliveryOutcome.DELIVERED, DeliveryOutcome.SKIPPED) for trial in trials
    )
    if as_json:
        console.print_json({"tests": [trial.full() for trial in trials], "exit_code": 5 if failed else 0})
    else:
        for trial in trials:
            mark = {DeliveryOutcome.DELIVERED: "✓", DeliveryOutcome.SKIPPED: "-"}.get(
                trial.answer.outcome, "✗"
            )
            where = f"{trial.destination.replace('_', ' ')} {console.clean(trial.recipient)}".strip()
            answer = console.clean(trial.answer.text) or "accepted"
            typer.echo(console.wrap(f"{mark} {where}: {answer}"))
    if failed:
        raise typer.Exit(5)
