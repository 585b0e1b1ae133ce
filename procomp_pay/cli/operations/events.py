"""``events``: list, show and replay the events that the providers sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats, paging
from procomp_pay.cli.framework.context import operator, payment_id, run_with_context
from procomp_pay.cli.framework.formats import print_page
from procomp_pay.cli.framework.options import (
    AsOption,
    CursorOption,
    JsonOption,
    LimitOption,
    NextOption,
    PaymentFilter,
    command_group,
)
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.webhooks.admin import EventView, Replayed
    from procomp_pay.storage.webhooks.inbox import EventFilter

_LIST = """[bold]Examples[/]

  procomp-pay events list
  procomp-pay events list --state dead
  procomp-pay events list --type "charge.dispute.*" --since 2026-05-01 --json

States: pending, done, ignored (a type that is not needed), foreign (about a
payment created elsewhere), dead (processing was given up)."""
_SHOW = """[bold]Examples[/]

  procomp-pay events show evt_1PxYz
  procomp-pay events show evt_1PxYz --json

Secrets and personal data are hidden."""
_REPLAY = """[bold]Examples[/]

  procomp-pay events replay evt_1PxYz
  procomp-pay events replay --all-dead --dry-run
  procomp-pay events replay --state foreign --type "refund.*" --since 2026-05-01

An event that was processed already changes nothing a second time.

Exit code 6: some failed again."""

StateOption = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help="pending, done, ignored, foreign or dead."),
]
TypeOption = Annotated[
    str | None,
    typer.Option("--type", metavar="TYPE", help='A type such as payment_intent.succeeded, or "refund.*".'),
]
ProviderOption = Annotated[
    str | None, typer.Option("--provider", metavar="NAME", help="A provider, such as stripe.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="DAY", help="Received from this day on: 2026-05-01, today, monday."),
]

_MARKS = {"done": "✓", "ignored": "·", "foreign": "·", "pending": "…", "dead": "✗"}
_COLOURS = {"done": "green", "pending": "yellow", "dead": "red"}


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("List, show and replay events from the providers.")
    group.command("list", epilog=_LIST)(list_events)
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_REPLAY)(replay)
    app.add_typer(group, name="events")


def _filter(
    state: str | None, kind: str | None, provider: str | None, payment: str | None, since: str | None
) -> EventFilter:
    from procomp_pay.storage.models.states import EventState
    from procomp_pay.storage.webhooks.inbox import EventFilter

    known = [state.value for state in EventState]
    if state is not None and state.lower() not in known:
        raise Refused(
            f"{console.clean(state[:24])!r} is not a state of an event", next_step=f"use {', '.join(known)}"
        )
    first = formats.day(since, "--since")
    return EventFilter(
        state=EventState(state.lower()) if state else None,
        type=kind,
        provider=provider,
        payment_id=payment,
        since=formats.day_begins(first) if first else None,
    )


def list_events(
    state: StateOption = None,
    kind: TypeOption = None,
    provider: ProviderOption = None,
    payment: PaymentFilter = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    next_page: NextOption = False,
    as_json: JsonOption = False,
) -> None:
    """List received events, newest first, with their state and its reason."""
    from procomp_pay.services.webhooks import admin as events

    paging.refuse_unknown(next_page)
    selection = _filter(state, kind, provider, payment, since)

    async def work(ctx: AppContext) -> tuple[list[EventView], str | None]:
        wanted = replace(selection, payment_id=await payment_id(ctx, payment, as_json=as_json))
        return await events.many(ctx, wanted, limit=limit, cursor=cursor)

    views, next_cursor = run_with_context(work)
    if as_json:
        print_page(views, next_cursor)
        return
    if not views:
        console.say("No events yet" if selection.is_any else "No events match", dim=True)
        return
    console.print_long(line for view in views for line in _lines(view))
    filters = {"state": state, "type": kind, "provider": provider, "payment": payment, "since": since}
    paging.print_next_page("events list", filters | {"limit": limit}, next_cursor)


def _lines(view: EventView) -> list[str]:
    """Return an event as a line, with a second one for its payment and the reason of its state."""
    mark = console.coloured(f"{_MARKS[view.state]} {view.state.value:<8}", _COLOURS.get(view.state))
    name = f"{console.clean(view.type)}  {console.clean(view.event_id)}"
    head = f"{mark} {formats.clock_time(view.received_at)}  {name}"
    reason = "" if view.state == "done" else _reason(view)
    payment = f"payment {view.payment_id}" if view.payment_id else ""
    more = " · ".join(console.clean(part) for part in (payment, reason) if part)
    if not more:
        return [head]
    return [head, *(console.dim(line) for line in console.wrap(f"    {more}", indent="    ").splitlines())]


def _reason(view: EventView) -> str:
    if view.next_attempt_at is not None and view.attempts:
        return f"{view.why}; next attempt at {formats.clock_time(view.next_attempt_at)}"
    return view.why


def show(
    event: Annotated[str, typer.Argument(help="The event's id: ours or the provider's.", metavar="EVENT")],
    as_json: JsonOption = False,
) -> None:
    """Show an event with its document, without secrets and personal data."""
    from procomp_pay.services.webhooks import admin as events

    view, document = run_with_context(lambda ctx: events.one(ctx, event))
    if as_json:
        console.print_json(view.full() | {"document": document})
        return
    import simplejson

    console.print_lines(_lines(view))
    rows = {"happened": view.occurred_at, "received": view.received_at, "processed": view.handled_at}
    for name, at in rows.items():
        if at is not None:
            typer.echo(f"  {name:<10} {formats.clock_time(at)}")
    if document is None:
        console.say("Its content was dropped after RETAIN_PAYLOADS_DAYS", dim=True)
        return
    text = simplejson.dumps(document, use_decimal=True, ensure_ascii=False, indent=2)
    typer.echo("\n".join(console.clean(line) for line in text.split("\n")))


def replay(
    event: Annotated[str | None, typer.Argument(help="The event's id.", metavar="EVENT")] = None,
    all_dead: Annotated[
        bool, typer.Option("--all-dead", help="All events whose processing was given up.")
    ] = False,
    state: StateOption = None,
    kind: TypeOption = None,
    provider: ProviderOption = None,
    payment: PaymentFilter = None,
    since: SinceOption = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Replay at most N events, the newest.", min=1)
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which; change nothing.")] = False,
    as_: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Process events again: one, the matching ones, or all dead ones."""
    from procomp_pay.services.webhooks import admin as events

    selection = _filter("dead" if all_dead else state, kind, provider, payment, since)
    if (event is None) == selection.is_any or (all_dead and state):
        raise typer.BadParameter(
            "give an EVENT, or select events: --all-dead, --state, --type, --payment, --since"
        )
    actor = operator(as_)

    async def work(ctx: Any) -> list[Replayed]:
        if event is not None:
            return [await events.replay_one(ctx, event, actor, dry_run=dry_run)]
        wanted = replace(selection, payment_id=await payment_id(ctx, payment, as_json=as_json))
        return await events.replay_many(ctx, wanted, actor, limit=limit, dry_run=dry_run)

    replays = run_with_context(work)
    failed = [replay for replay in replays if not dry_run and replay.state in ("pending", "dead")]
    if as_json:
        items = [
            {"event_id": replay.before.event_id, "type": replay.before.type, "was": replay.before.state,
             "now": replay.state, "payment_id": replay.before.payment_id}
            for replay in replays
        ]  # fmt: skip
        console.print_json({"dry_run": dry_run, "count": len(replays), "failed": len(failed), "items": items})
    else:
        _show_replays(replays, dry_run=dry_run, failed=len(failed))
    if failed:
        raise typer.Exit(6)


def _show_replays(replays: list[Replayed], *, dry_run: bool, failed: int) -> None:
    if not replays:
        console.say("No events match: nothing to replay", dim=True)
        return
    for replay in replays:
        now = "would be processed again" if dry_run else f"now {replay.state or 'being processed elsewhere'}"
        before = replay.before
        typer.echo(
            f"{console.clean(before.event_id)}  {console.clean(before.type)}  was {before.state.value}, {now}"
        )
    events = formats.counted(len(replays), "event")
    console.say(
        f"{events} {'would be ' if dry_run else ''}replayed" + (f", {failed} failed again" if failed else "")
    )
    if failed:
        console.hint("procomp-pay events list --state pending")
