"""``outbox``: letters, webhooks and alerts, what became of them, and bringing back what was given up."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import JsonOption, clean, hint, print_json, run_with_context, say, wrap
from procomp_pay.domain.destinations import Destination

if TYPE_CHECKING:
    from procomp_pay.storage.models.queues import Delivery
    from procomp_pay.storage.notifications.listing import Told

_LIST = """[bold]Examples[/]

  procomp-pay outbox list
  procomp-pay outbox list --state dead
  procomp-pay outbox list --topic alert --limit 10

States: waiting, delivered, dead (given up), undeliverable (no such address),
skipped (not configured, or overtaken), held (the same alert within the hour)."""
_SHOW = """[bold]Examples[/]

  procomp-pay outbox show MESSAGE"""
_REPLAY = """[bold]Examples[/]

  procomp-pay outbox replay MESSAGE
  procomp-pay outbox replay --dead --dry-run
  procomp-pay outbox replay --dead --destination platform_webhook

It goes out under the id it had, so that a receiver can tell a repetition.
What was delivered is not sent again. `serve` or `maintain` sends it."""
_TEST = """[bold]Examples[/]

  procomp-pay outbox test
  procomp-pay outbox test --to me@example.com

Exit code 5: one of the ways did not take it."""


class State(StrEnum):
    """What ``--state`` takes."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    UNDELIVERABLE = "undeliverable"
    SKIPPED = "skipped"
    HELD = "held"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Letters, webhooks and alerts on their way."
    )
    group.command("list", epilog=_LIST)(list_messages)
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_REPLAY)(replay)
    group.command("test", epilog=_TEST)(try_out)
    app.add_typer(group, name="outbox")


def list_messages(
    state: Annotated[State | None, typer.Option(help="Messages with a delivery that stands so.")] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TEXT", help="How the topic begins: payment, alert.dispute.")
    ] = None,
    payment: Annotated[str | None, typer.Option(metavar="PAYMENT", help="About this payment.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The most messages, to 500.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What there was to tell, newest first, and what became of it."""

    async def work(ctx: Any) -> list[Told]:
        from procomp_pay.services.notifications import outbox

        wanted = {"state": state.value if state else None, "topic": topic, "payment_id": payment}
        return await outbox.newest(ctx, limit=limit, **wanted)

    found = run_with_context(work)
    if as_json:
        from procomp_pay.services.notifications.outbox import as_document

        print_json({"items": [as_document(each) for each in found]})
        return
    if not found:
        say("Nothing of the kind in the outbox")
    for told in found:
        for line in _lines(told):
            typer.echo(line)


def _lines(told: Told) -> list[str]:
    from procomp_pay.cli.payments import wording

    message, deliveries = told
    about = f" · payment {message.payment_id}" if message.payment_id else ""
    lines = [f"{message.id}  {clean(message.topic)} · {wording.clock_time(message.created_at)}{about}"]
    lines += [wrap(f"    {_delivery_line(each)}", sys.stdout, indent=" " * 6) for each in deliveries]
    if message.skipped:
        note = f"{'held back: ' if message.state == 'held' else ''}{clean(message.skipped)}"
        lines.append(wrap(f"    {note}", sys.stdout, indent=" " * 6))
    elif not deliveries:
        lines.append(f"    {message.state}")
    return lines


def _delivery_line(row: Delivery) -> str:
    from procomp_pay.cli.payments import wording

    to = f" to {clean(row.recipient)}" if row.recipient else ""
    when = row.finished_at or (row.next_attempt_at if row.state == "waiting" else None)
    at = f"{' since' if row.state == 'dead' else ', next try' if row.state == 'waiting' else ''} "
    tries = f", {row.attempts} attempts" if row.attempts > 1 else ""
    error = f": {clean(row.last_error)}" if row.last_error else ""
    said = f"{at}{wording.clock_time(when)}" if when else ""
    return f"{_MARKS[row.state]} {row.destination.replace('_', ' ')}{to} {row.state}{said}{tries}{error}"


_MARKS = {"waiting": "…", "delivered": "✓", "dead": "✗", "undeliverable": "✗", "skipped": "-"}


def show(
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id, or a delivery's.")],
    as_json: JsonOption = False,
) -> None:
    """One message: what it says, and each delivery."""

    async def work(ctx: Any) -> Told:
        from procomp_pay.services.notifications import outbox

        return await outbox.one(ctx, message)

    told = run_with_context(work)
    from procomp_pay.services.notifications.outbox import as_document

    document = as_document(told)
    if as_json:
        print_json(document)
        return
    for line in _lines(told):
        typer.echo(line)
    for each in told[1]:
        typer.echo(f"    {each.destination.replace('_', ' '):<18} delivery {each.id}")
    for name, value in document["payload"].items():
        if value is not None:
            typer.echo(wrap(f"  {clean(name):<20} {clean(value)}", sys.stdout, indent=" " * 23))
    if any(each.state == "dead" for each in told[1]):
        hint(f"procomp-pay outbox replay {told[0].id}")


def replay(
    message: Annotated[str | None, typer.Argument(metavar="MESSAGE", help="Its id, or a delivery's.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Everything that was given up.")] = False,
    destination: Annotated[
        Destination | None, typer.Option(help="With --dead: what was given up there alone.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many, change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send again what did not arrive."""
    if (message is None) == (not dead) or (destination is not None and not dead):
        raise typer.BadParameter("name a message, or say --dead (with --destination, if you like)")

    async def work(ctx: Any) -> int:
        from procomp_pay.services.notifications import outbox

        if message is not None:
            return await outbox.replay_one(ctx, message, dry_run=dry_run)
        return await outbox.replay_dead(ctx, destination, dry_run=dry_run)

    count = run_with_context(work)
    if as_json:
        print_json({"deliveries": count, "dry_run": dry_run})
        return
    what = f"{count} {'delivery' if count == 1 else 'deliveries'}"
    typer.echo(f"{what} would be sent again" if dry_run else f"{what} will be sent again")
    if count and not dry_run:
        hint("procomp-pay maintain   (or let serve do it)")


def try_out(
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Write a test letter to it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Try every way that is configured, now: mail, the platform's webhook, alerts."""
    from procomp_pay.domain.notifications import DeliveryOutcome

    async def work(ctx: Any) -> Any:
        from procomp_pay.services.notifications import outbox

        return await outbox.try_out(ctx, to)

    trials = run_with_context(work)
    failed = any(
        each.answer.outcome not in (DeliveryOutcome.DELIVERED, DeliveryOutcome.SKIPPED) for each in trials
    )
    if as_json:
        print_json({"tests": [each.full() for each in trials], "exit_code": 5 if failed else 0})
    else:
        for each in trials:
            mark = {DeliveryOutcome.DELIVERED: "✓", DeliveryOutcome.SKIPPED: "-"}.get(
                each.answer.outcome, "✗"
            )
            where = f"{each.destination.replace('_', ' ')} {clean(each.recipient)}".strip()
            said = clean(each.answer.words) or "taken"
            typer.echo(wrap(f"{mark} {where}: {said}", sys.stdout))
    if failed:
        raise typer.Exit(5)
