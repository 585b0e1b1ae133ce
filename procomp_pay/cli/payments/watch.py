"""Follow a payment to its end. The provider is polled from here, so no ``serve`` has to be running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import screens, wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.explain import in_full
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.errors import Unavailable
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.lifecycle.polling import poll_if_due
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from rich.console import Console

    from procomp_pay.cli.display.qr import Picture
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import PaymentView

#: Seconds between two reads of the database, and between two refreshes of the screen.
_LOOK_S = 1.0
_TICK_S = 0.5
#: Seconds that a database operation in progress gets at the end.
_LAST_STEP_S = 1.0
#: Stripe sends webhooks, which may not reach this computer: it is polled as well.
_STRIPE_EVERY = timedelta(seconds=4)
#: How long a silent provider is tried, and at least until how long after the payment's expiry.
GIVE_UP = timedelta(seconds=45)
#: The same for a payment that does not expire.
GIVE_UP_WITHOUT_END = timedelta(minutes=10)
#: An answer that takes longer is mentioned on the screen.
SLOW = timedelta(seconds=5)

EXIT_CODES: dict[str, int] = {PaymentStatus.COMPLETED: 0, PaymentStatus.REFUNDED: 0}


@dataclass(slots=True)
class Watched:
    """The payment while it is followed, and the errors that keep us from knowing more."""

    view: PaymentView
    provider_trouble: Unavailable | None = None
    database_trouble: Unavailable | None = None
    since: datetime | None = None
    asked_at: datetime | None = None

    @property
    def trouble(self) -> Unavailable | None:
        return self.database_trouble or self.provider_trouble

    def obstacle(self, now: datetime) -> str | None:
        """Return the trouble with the connection at this moment; None where there is none."""
        if self.trouble is not None:
            return in_full(self.trouble)
        waiting = self.asked_at is not None and now - self.asked_at > SLOW
        return _("no answer yet from %(provider)s", provider=wording.provider(self.view)) if waiting else None

    @property
    def next_step(self) -> str | None:
        """Return what to do about it meanwhile."""
        if self.database_trouble is not None:
            return translated(self.database_trouble.next_step or "") or None
        return wording.while_silent(self.view)

    def is_hopeless(self, now: datetime) -> bool:
        """Return whether the payment has expired while its outcome cannot be asked for."""
        if self.trouble is None:
            self.since = None
            return False
        self.since = self.since or now
        if self.view.expires_at is None:
            return now - self.since > GIVE_UP_WITHOUT_END
        return now - max(self.since, self.view.expires_at) > GIVE_UP


Show = Callable[[Watched, datetime], None]


async def follow(ctx: AppContext, payment_id: str, actor: Actor, show: Show) -> PaymentView:
    """Follow a payment until it is final; return its last view.

    :param show: called about twice a second.
    :raises Unavailable: it has expired, and the provider or the database still does not answer.
    """
    state = Watched(await views.one(ctx, payment_id))
    over = asyncio.Event()
    helpers = [
        asyncio.create_task(_again(over, _read_on, ctx, state)),
        asyncio.create_task(_again(over, _ask_on, ctx, state, actor)),
    ]
    try:
        while True:
            now = ctx.clock()
            show(state, now)
            if state.view.is_final:
                return state.view
            if state.is_hopeless(now) and state.trouble is not None:
                raise _gave_up(state.trouble, payment_id)
            done, _pending = await asyncio.wait(helpers, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()  # raises: a helper ends only with an error
    finally:
        over.set()
        # let the database finish what it is doing; do not wait for a provider that hangs
        await asyncio.wait(helpers, timeout=_LAST_STEP_S)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _again(over: asyncio.Event, step: Callable[..., Awaitable[None]], *given: Any) -> None:
    while not over.is_set():
        await step(*given)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await over.wait()


async def _read_on(ctx: AppContext, state: Watched) -> None:
    try:
        state.view = await views.one(ctx, state.view.payment_id)
        state.database_trouble = None
    except Unavailable as error:
        state.database_trouble = error


async def _ask_on(ctx: AppContext, state: Watched, actor: Actor) -> None:
    state.asked_at = ctx.clock()
    every = None if state.view.channel.is_kaspi else _STRIPE_EVERY
    try:
        if await poll_if_due(ctx, state.view.payment_id, actor, at_least_every=every):
            state.provider_trouble = None
    except Unavailable as error:
        state.provider_trouble = error
    finally:
        state.asked_at = None


def _gave_up(trouble: Unavailable, payment_id: str) -> Unavailable:
    return type(trouble)(
        N_(
            "%(error)s, and the payment has expired: its outcome is not known yet. Nothing is lost",
            error=trouble.message,
        ),
        next_step=N_(
            "when the connection is back: procomp-pay status --payment %(payment)s --refresh",
            payment=payment_id,
        ),
    )


async def follow_on_screen(
    ctx: AppContext,
    payment_id: str,
    actor: Actor,
    *,
    picture: Picture | None = None,
    payload: str = "",
    quiet: bool = False,
) -> PaymentView:
    """Follow a payment: with a live screen in a terminal, with one line for each change elsewhere.

    :param payload: the content of the QR, shown as text once the terminal is too small for it.
    :param quiet: print nothing (``--json``).
    """
    if quiet:
        return await follow(ctx, payment_id, actor, lambda _state, _now: None)
    terminal = console.err()
    if not terminal.is_terminal or os.environ.get("TERM") == "dumb":
        return await follow(ctx, payment_id, actor, _line_by_line())
    live, show = _live(terminal, picture, payload)
    with live:
        return await follow(ctx, payment_id, actor, show)


def _live(
    terminal: Console, picture: Picture | None, payload: str
) -> tuple[AbstractContextManager[Any], Show]:
    from rich.live import Live
    from rich.text import Text

    live = Live(console=terminal, auto_refresh=False, transient=True)

    def show(state: Watched, now: datetime) -> None:
        line = screens.now_line(state.view, now, state.obstacle(now), state.next_step)
        if state.view.is_final or state.view.status is PaymentStatus.PROCESSING:
            shown = screens.pay_screen(state.view, None, terminal, below=[line])  # the QR was scanned
        elif picture is None:
            shown = Text.from_markup(line)
        elif screens.position_for(picture, terminal.width, terminal.height).fits:
            shown = screens.pay_screen(state.view, picture, terminal, below=[line])
        else:
            why = screens.why_no_qr(picture, payload, terminal.width, terminal.height)
            shown = Text.from_markup(f"{line}\n[yellow]{console.safe(why)}[/]\n{console.safe(payload)}")
        live.update(shown, refresh=True)

    return live, show


def _line_by_line() -> Show:
    last = ""

    def show(state: Watched, now: datetime) -> None:
        nonlocal last
        line = f"{wording.status(state.view.status)} {wording.state(state.view)}"
        if obstacle := state.obstacle(now):
            line += f" ({_('no connection, trying again')}: {obstacle})"
            line += f"; {state.next_step}" if state.next_step else ""
        if line != last:
            console.say(f"{formats.exact_time(now)} {console.clean(line)}")
            last = line

    return show


def stopped(payment_id: str) -> typer.Exit:
    """Tell that the payment stays open after Ctrl-C; return the exit code to raise."""
    console.say(_("\nStopped watching. The payment stays open."), fg="yellow")
    console.hint(f"procomp-pay status --payment {payment_id} --watch")
    return typer.Exit(130)


def exit_code(view: PaymentView) -> int:
    """Return the exit code of ``--watch``: 0 if the payment was paid, 3 if not."""
    return EXIT_CODES.get(view.status, 3)
