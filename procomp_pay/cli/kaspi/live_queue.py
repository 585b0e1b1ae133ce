"""The live queue: choose a payment by row, name or receipt, type the receipt's number, see it paid.

A row keeps its number while the queue is open, so that a number being typed never becomes another payment's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.explain import in_full
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.kaspi import queue_screen as screen
from procomp_pay.cli.kaspi.keyboard import ESCAPE, Keys, Line, can_read, keyboard
from procomp_pay.cli.kaspi.queue_screen import Queue, as_receipt
from procomp_pay.cli.kaspi.wording import minutes, short_state
from procomp_pay.domain.errors import DatabaseUnavailable, PaymentError
from procomp_pay.domain.kaspi_verification import KaspiAnswer
from procomp_pay.domain.states import KASPI_CHANNELS, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.kaspi_verification.provider_check import ask
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified, verify
from procomp_pay.services.maintenance.run import Pass, work_watch
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import PaymentView

#: Seconds between two reads of the database.
_LOOK_S = 1.0
#: Seconds until the green screen closes by itself.
_GREEN_S = 10.0
#: Seconds between two polls of the payment on the screen: Kaspi's usual interval.
_ASK_S = 5.0
#: Payments that are polled in one go.
_POLLED = 16


async def attend(ctx: AppContext, actor: Actor, notice: str | None) -> None:
    """Run the queue in a terminal until Esc in the list, or Ctrl-D anywhere.

    :param notice: the first line while no real money moves.
    :raises DatabaseUnavailable: at the first read.
    """
    queue = Queue(ctx)
    await queue.refresh()
    if not can_read():
        await _line_by_line(ctx, actor, queue)
        return
    polling = asyncio.create_task(_poll(ctx))
    try:
        with suppress(EOFError), screen.Board(console.err(), notice) as board, keyboard() as keys:
            message = None
            while (picked := await _pick(queue, board, keys, message)) is not None:
                message = await _attend_one(ctx, actor, picked, board, keys, queue)
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling


async def _poll(ctx: AppContext) -> None:
    """Poll what is due, as ``serve`` does: without it no state would change on the screen."""
    while True:
        with suppress(PaymentError):
            await work_watch(ctx, Pass(), KASPI_CHANNELS, most=_POLLED)
        await asyncio.sleep(_LOOK_S)


async def _pick(queue: Queue, board: screen.Board, keys: Keys, notice: str | None) -> PaymentView | None:
    """Show the list until a payment is chosen or Esc is pressed."""
    # Esc after a message only removes the message: it does not quit while the clerk is typing the next line
    line, clock, answered = Line(), queue.clock, False
    while True:
        with suppress(DatabaseUnavailable):  # the list stays as it was; the next read may work
            await queue.refresh()
        while True:
            # a receipt's number is looked up only when it is complete
            rows = queue.matching("" if as_receipt(line.text) else line.text)
            board.put(screen.queue_screen(board.room, rows, len(queue), clock(), line.text, notice))
            key = await keys.next(_LOOK_S)
            if key is None:
                break
            if key == ESCAPE and not (line.text or answered):
                return None
            notice, answered = None, False  # it was about the previous line
            if key == ESCAPE:
                line.take()
            elif line.press(key) and (typed := line.take()):
                if typed.lower() in ("q", "quit", "exit", "й"):
                    return None
                answer = queue.choice(typed) or await queue.find(typed)
                if not isinstance(answer, str):
                    return answer
                notice, answered = answer, True


async def _attend_one(
    ctx: AppContext, actor: Actor, view: PaymentView, board: screen.Board, keys: Keys, queue: Queue
) -> str | None:
    """Show one payment, and ask Kaspi meanwhile; return the message for the list."""
    line, error, inquiry = Line(), None, Inquiry(ctx, view.payment_id, actor)
    line.put(queue.receipt or "")
    queue.receipt = None
    try:
        while True:
            word = inquiry.word
            with suppress(PaymentError):
                view = await views.one(ctx, view.payment_id)
            if view.status is PaymentStatus.COMPLETED:
                return await _green(view, board, keys, _(_BY_KASPI))
            typed = await _number(board, keys, line, view, word, error)
            if typed == "":
                return None
            if typed is not None:
                board.put(screen.payment_screen(board.room, view, word, "", None, busy=True))
                result = await _try(ctx, actor, view, typed)
                if isinstance(result, Verified):
                    return await _green(await views.one(ctx, view.payment_id), board, keys, _remark(result))
                error = result
    finally:
        await inquiry.end()


async def _number(
    board: screen.Board, keys: Keys, line: Line, view: PaymentView, word: str | None, error: str | None
) -> str | None:
    """Return the typed line, empty to go back; None when it is time to read the payment again."""
    while True:
        board.put(screen.payment_screen(board.room, view, word, line.text, error, busy=False))
        key = await keys.next(0.3 if word is None else _LOOK_S)
        if key is None:
            return None
        if key == ESCAPE:
            if not line.take():
                return ""
        elif line.press(key) and line.text.strip():
            return line.take()


class Inquiry:
    """Asks Kaspi about a payment, again and again while its screen is open.

    ``word`` is the last answer; None before the first.
    """

    def __init__(self, ctx: AppContext, payment_id: str, actor: Actor) -> None:
        self.word: str | None = None
        self._task = asyncio.create_task(self._ask_on(ctx, payment_id, actor))

    async def end(self) -> None:
        """Stop."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _ask_on(self, ctx: AppContext, payment_id: str, actor: Actor) -> None:
        while True:
            try:
                self.word = (await ask(ctx, payment_id, actor)).value
            except PaymentError:
                self.word = KaspiAnswer.NO_ANSWER.value
            await asyncio.sleep(_ASK_S)


async def _try(ctx: AppContext, actor: Actor, view: PaymentView, typed: str) -> Verified | str:
    """Verify a payment; return the result, or the message of a refusal."""
    try:
        return await verify(ctx, VerificationRequest(view.payment_id, typed), actor)
    except PaymentError as error:
        return f"{console.clean(in_full(error))}{_next(error, view, typed)}"


def _next(error: PaymentError, view: PaymentView, typed: str) -> str:
    """Return the next step; for an override the complete command."""
    step = f"\n→ {console.clean(translated(error.next_step))}" if error.next_step else ""
    number = as_receipt(typed)
    if number is None or "--override" not in step:
        return step
    which = view.code or view.payment_id
    return f'{step}\n  procomp-pay verify-kaspi {which} --transaction-id {number} --override --reason "…"'


#: Shown when no number was typed.
_BY_KASPI = N_("Kaspi confirmed it, no number was needed. Compare it with the phone.")


def _remark(done: Verified) -> str:
    if done.kaspi is KaspiAnswer.PAID:
        return _(_BY_KASPI)
    return _("Verified by you. Kaspi is still asked; a contradiction opens a discrepancy.")


async def _green(view: PaymentView, board: screen.Board, keys: Keys, remark: str) -> str:
    board.put(screen.paid_screen(view, remark, utf8=board.console.encoding.startswith("utf")))
    await keys.next(_GREEN_S)
    name = console.safe(view.participant_name)
    return f"[green]{_('✓ PAID %(name)s %(money)s', name=name, money=view.charged)}[/]"


async def _line_by_line(ctx: AppContext, actor: Actor, queue: Queue) -> None:
    """Run the queue with questions and answers, for a terminal that only sends whole lines."""
    while True:
        await queue.refresh()
        for number, view in queue.matching(""):
            mins = minutes(view, ctx.clock())
            name, category = console.clean(view.participant_name), console.clean(view.category or "-")
            waits = _("%(n)d min", n=mins)
            amount = formats.money(view.charged)
            typer.echo(f"{number:>3}  {name} · {category} · {amount} · {waits} · {_(short_state(view))}")
        typed = console.prompt(_("Row, name or receipt (q quits, Enter refreshes)"), optional=True)
        if typed.strip().lower() == "q":
            return
        if not typed.strip():
            continue
        picked = queue.choice(typed) or await queue.find(typed.strip())
        if isinstance(picked, str):
            console.err().print(picked)
            continue
        number_typed = console.prompt(_("Operation number on the receipt"), optional=True)
        if not number_typed.strip():
            continue
        done = await _try(ctx, actor, picked, number_typed)
        if isinstance(done, str):
            console.say(done, fg="red")
        else:
            console.say(
                _(
                    "✓ PAID %(name)s %(money)s",
                    name=console.clean(picked.participant_name),
                    money=picked.charged,
                ),
                fg="green",
                bold=True,
            )
            console.hint(f"procomp-pay status --payment {picked.payment_id}")
