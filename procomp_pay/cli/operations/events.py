"""``events``: what came from the providers, what became of it, and once more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import common
from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    wrap,
)
from procomp_pay.cli.framework.paging import CursorOption, LimitOption, print_page, tell_next
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.services.webhooks.admin import EventView, Replayed
    from procomp_pay.storage.webhooks.listing import EventFilter

_LIST = """[bold]Examples[/]

  procomp-pay events list
  procomp-pay events list --state dead
  procomp-pay events list --type "charge.dispute.*" --since 2026-05-01 --json

States: pending, done, ignored (a type that the desk does not act on),
foreign (about a payment that is not ours), dead (given up)."""
_SHOW = """[bold]Examples[/]

  procomp-pay events show evt_1PxYz
  procomp-pay events show evt_1PxYz --json

Secrets and what belongs to a person are hidden."""
_REPLAY = """[bold]Examples[/]

  procomp-pay events replay evt_1PxYz
  procomp-pay events replay --all-dead --dry-run
  procomp-pay events replay --state foreign --type "refund.*" --since 2026-05-01

An event that was handled already changes nothing a second time.
Exit code 6: some failed again."""

StateOption = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help="pending, done, ignored, foreign or dead."),
]
TypeOption = Annotated[
    str | None,
    typer.Option("--type", metavar="TYPE", help='As payment_intent.succeeded, or "refund.*".'),
]
ProviderOption = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="As stripe.")]
PaymentOption = Annotated[str | None, typer.Option("--payment", metavar="ID", help="Of this payment.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="DAY", help="Received from this day on, as 2026-05-01.")
]

_MARKS = {"done": "✓", "ignored": "·", "foreign": "·", "pending": "…", "dead": "✗"}
_COLOURS = {"done": "green", "pending": "yellow", "dead": "red"}


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Events from the providers: look, and replay."
    )
    group.command("list", epilog=_LIST)(list_events)
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_REPLAY)(replay)
    app.add_typer(group, name="events")


def _wanted(
    state: str | None, kind: str | None, provider: str | None, payment: str | None, since: str | None
) -> EventFilter:
    from procomp_pay.cli.payments import wording
    from procomp_pay.storage.models.states import EventState
    from procomp_pay.storage.webhooks.listing import EventFilter

    known = [each.value for each in EventState]
    if state is not None and state.lower() not in known:
        raise Refused(f"{clean(state[:24])!r} is no state of an event", next_step=f"use {', '.join(known)}")
    first = wording.day(since, "--since")
    return EventFilter(
        state=EventState(state.lower()) if state else None,
        type=kind,
        provider=provider,
        payment_id=payment,
        since=wording.day_begins(first) if first else None,
    )


def list_events(
    state: StateOption = None,
    kind: TypeOption = None,
    provider: ProviderOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """What came in, newest first, and why each stands where it stands."""
    from procomp_pay.services.webhooks import admin as events

    wanted = _wanted(state, kind, provider, payment, since)
    found, following = run_with_context(lambda ctx: events.many(ctx, wanted, limit=limit, cursor=cursor))
    if as_json:
        print_page(found, following)
        return
    if not found:
        say("No events" + (" yet" if wanted.is_any else " fit"), dim=True)
        return
    for view in found:
        for line in _lines(view):
            typer.echo(line)
    given = {"state": state, "type": kind, "provider": provider, "payment": payment, "since": since}
    tell_next("events list", given | {"limit": limit}, following)


def _lines(view: EventView) -> list[str]:
    """Two lines: what it is, and why it stands there where that is not plain."""
    from procomp_pay.cli.payments import tables, wording

    mark = f"{_MARKS[view.state]} {view.state.value:<8}"
    colour = _COLOURS.get(view.state)
    if colour and common.has_colour():
        mark = typer.style(mark, fg=colour)
    head = f"{mark} {wording.clock_time(view.received_at)}  {clean(view.type)}  {clean(view.event_id)}"
    reason = "" if view.state == "done" else _reason(view)
    about = f"payment {view.payment_id}" if view.payment_id else ""
    more = " · ".join(clean(part) for part in (about, reason) if part)
    return [
        head,
        *(tables.dim(line) for line in wrap(f"    {more}", sys.stdout, "    ").splitlines() if more),
    ]


def _reason(view: EventView) -> str:
    from procomp_pay.cli.payments import wording

    if view.next_attempt_at is not None and view.attempts:
        return f"{view.why}; again at {wording.clock_time(view.next_attempt_at)}"
    return view.why


def show(
    event: Annotated[str, typer.Argument(help="The event's id, ours or the provider's.", metavar="EVENT")],
    as_json: JsonOption = False,
) -> None:
    """One event with its document, without secrets and without what belongs to a person."""
    from procomp_pay.services.webhooks import admin as events

    view, document = run_with_context(lambda ctx: events.one(ctx, event))
    if as_json:
        print_json(view.full() | {"document": document})
        return
    import simplejson

    from procomp_pay.cli.payments import wording

    for line in _lines(view):
        typer.echo(line)
    rows = {"happened": view.occurred_at, "received": view.received_at, "handled": view.handled_at}
    for name, at in rows.items():
        if at is not None:
            typer.echo(f"  {name:<9} {wording.clock_time(at)}")
    text = simplejson.dumps(document, use_decimal=True, ensure_ascii=False, indent=2)
    typer.echo("\n".join(clean(line) for line in text.split("\n")))


def replay(
    event: Annotated[str | None, typer.Argument(help="This one.", metavar="EVENT")] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that were given up.")] = False,
    state: StateOption = None,
    kind: TypeOption = None,
    provider: ProviderOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many, the newest.", min=1)] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which; change nothing.")] = False,
    as_: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have events handled once more: one, those that fit, or all that were given up."""
    from procomp_pay.services.webhooks import admin as events

    wanted = _wanted("dead" if all_dead else state, kind, provider, payment, since)
    if (event is None) == wanted.is_any or (all_dead and state):
        raise typer.BadParameter(
            "name an EVENT, or say which: --all-dead, --state, --type, --payment, --since"
        )
    actor = operator(as_)

    async def work(ctx: Any) -> list[Replayed]:
        if event is not None:
            return [await events.replay_one(ctx, event, actor, dry_run=dry_run)]
        return await events.replay_many(ctx, wanted, actor, limit=limit, dry_run=dry_run)

    found = run_with_context(work)
    failed = [each for each in found if not dry_run and each.state in ("pending", "dead")]
    if as_json:
        items = [
            {"event_id": each.before.event_id, "type": each.before.type, "was": each.before.state,
             "now": each.state, "payment_id": each.before.payment_id}
            for each in found
        ]  # fmt: skip
        print_json({"dry_run": dry_run, "count": len(found), "failed": len(failed), "items": items})
    else:
        _tell(found, dry_run=dry_run, failed=len(failed))
    if failed:
        raise typer.Exit(6)


def _tell(found: list[Replayed], *, dry_run: bool, failed: int) -> None:
    if not found:
        say("No events fit: nothing to replay", dim=True)
        return
    for each in found:
        now = "would be handled once more" if dry_run else f"now {each.state or 'in other hands'}"
        before = each.before
        typer.echo(f"{clean(before.event_id)}  {clean(before.type)}  was {before.state.value}, {now}")
    several = "1 event" if len(found) == 1 else f"{len(found)} events"
    say(
        f"{several} {'would be ' if dry_run else ''}replayed" + (f", {failed} failed again" if failed else "")
    )
    if failed:
        hint("procomp-pay events list --state pending")
