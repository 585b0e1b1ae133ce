"""The live queue: pick a payment by its row, name or receipt, type the receipt's number, see it turn green.

A line keeps its number as long as the queue is open, so that a number which is being typed never becomes
another payment's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import clean, err, hint, safe, say
from procomp_pay.cli.kaspi import queue_screen as screen
from procomp_pay.cli.kaspi.keyboard import ESCAPE, Keys, Line, can_read, keyboard
from procomp_pay.cli.kaspi.queue_rows import Queue, as_receipt
from procomp_pay.cli.kaspi.wording import minutes, short_state
from procomp_pay.domain.errors import DatabaseUnavailable, PaymentError
from procomp_pay.domain.kaspi_verification import KaspiWord
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.kaspi_verification.provider_check import ask
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified, verify
from procomp_pay.services.maintenance.run import Pass, work_watch
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import PaymentView

#: Between two looks at our own database, in seconds.
_LOOK_S = 1.0
#: How long a green screen stays by itself, in seconds.
_GREEN_S = 10.0
#: Between two questions to Kaspi about the payment on the screen, in seconds; Kaspi's usual interval.
_ASK_S = 5.0
#: Payments that are asked about in one go.
_POLLED = 16


async def attend(ctx: AppContext, actor: Actor, mark: str | None) -> None:
    """Until Esc, at a terminal.

    :param mark: stands above everything while no real money moves.
    :raises DatabaseUnavailable: at the first look.
    """
    queue = Queue(ctx)
    await queue.look()
    if not can_read():
        await _line_by_line(ctx, actor, queue)
        return
    polling = asyncio.create_task(_poll(ctx))
    try:
        with screen.Board(err(), mark) as board, keyboard() as keys:
            notice = None
            while (picked := await _pick(queue, board, keys, notice)) is not None:
                notice = await _attend_one(ctx, actor, picked, board, keys, queue)
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling


async def _poll(ctx: AppContext) -> None:
    """Ask about what is due, as ``serve`` does: whoever comes first, each once in its interval. Without a
    ``serve`` nobody's state would change on the screen."""
    while True:
        with suppress(PaymentError):
            await work_watch(ctx, Pass(), most=_POLLED)
        await asyncio.sleep(_LOOK_S)


async def _pick(queue: Queue, board: screen.Board, keys: Keys, notice: str | None) -> PaymentView | None:
    """The list, until a line is picked or Esc is pressed."""
    # Esc after an answer takes the answer away, and does not leave with the next key typed into nowhere
    line, clock, answered = Line(), queue.clock, False
    while True:
        with suppress(DatabaseUnavailable):  # the list stays as it was; the next look may work
            await queue.look()
        while True:
            # a receipt's number is looked up when it is whole
            rows = queue.fitting("" if as_receipt(line.text) else line.text)
            board.put(screen.queue_screen(board.room, rows, len(queue), clock(), line.text, notice))
            key = await keys.next(_LOOK_S)
            if key is None:
                break
            if key == ESCAPE and not (line.text or answered):
                return None
            notice, answered = None, False  # it was about what was typed before
            if key == ESCAPE:
                line.take()
            elif line.press(key) and (typed := line.take()):
                if typed.lower() in ("q", "quit", "exit", "й"):
                    return None
                found = queue.choice(typed) or await queue.find(typed)
                if not isinstance(found, str):
                    return found
                notice, answered = found, True


async def _attend_one(
    ctx: AppContext, actor: Actor, view: PaymentView, board: screen.Board, keys: Keys, queue: Queue
) -> str | None:
    """One payment: Kaspi is asked while the clerk looks at the receipt. What the list says afterwards."""
    line, trouble, asking = Line(), None, Asking(ctx, view.payment_id, actor)
    line.put(queue.receipt or "")
    queue.receipt = None
    try:
        while True:
            word = asking.word
            with suppress(PaymentError):
                view = await views.one(ctx, view.payment_id)
            if view.status is PaymentStatus.COMPLETED:
                return await _green(view, board, keys, _BY_KASPI)
            typed = await _number(board, keys, line, view, word, trouble)
            if typed == "":
                return None
            if typed is not None:
                board.put(screen.payment_screen(board.room, view, word, "", None, busy=True))
                done = await _try(ctx, actor, view, typed)
                if isinstance(done, Verified):
                    return await _green(await views.one(ctx, view.payment_id), board, keys, _remark(done))
                trouble = done
    finally:
        await asking.end()


async def _number(
    board: screen.Board, keys: Keys, line: Line, view: PaymentView, word: str | None, trouble: str | None
) -> str | None:
    """The line that was typed, empty for "back"; ``None`` where it is time to look again."""
    while True:
        board.put(screen.payment_screen(board.room, view, word, line.text, trouble, busy=False))
        key = await keys.next(0.3 if word is None else _LOOK_S)
        if key is None:
            return None
        if key == ESCAPE:
            if not line.take():
                return ""
        elif line.press(key) and line.text.strip():
            return line.take()


class Asking:
    """Kaspi is asked about one payment, and again a little later, as long as its screen is open.

    ``word`` is what it said last; ``None`` before its first answer.
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
                self.word = KaspiWord.NO_ANSWER.value
            await asyncio.sleep(_ASK_S)


async def _try(ctx: AppContext, actor: Actor, view: PaymentView, typed: str) -> Verified | str:
    """Verify; what to say where it was refused."""
    try:
        return await verify(ctx, VerificationRequest(view.payment_id, typed), actor)
    except PaymentError as error:
        return f"{clean(error.message)}{_next(error, view, typed)}"


def _next(error: PaymentError, view: PaymentView, typed: str) -> str:
    """What to do about it; a command whole, with what is known of it."""
    step = f"\n→ {clean(error.next_step)}" if error.next_step else ""
    number = as_receipt(typed)
    if number is None or "--override" not in step:
        return step
    which = view.code or view.payment_id
    return f'{step}\n  procomp-pay verify-kaspi {which} --transaction-id {number} --override --reason "…"'


#: Nobody typed anything for it.
_BY_KASPI = "Kaspi itself says so: no number was needed. Compare it with the phone."


def _remark(done: Verified) -> str:
    if done.kaspi is KaspiWord.PAID:
        return _BY_KASPI
    return "By your word: Kaspi is still asked, and a person is told if it disagrees."


async def _green(view: PaymentView, board: screen.Board, keys: Keys, remark: str) -> str:
    board.put(screen.paid_screen(view, remark, utf8=board.console.encoding.startswith("utf")))
    await keys.next(_GREEN_S)
    return f"[green]✓ PAID {safe(view.participant_name)} {view.charged}[/]"


async def _line_by_line(ctx: AppContext, actor: Actor, queue: Queue) -> None:
    """For a terminal that gives whole lines only: the same in questions and answers."""
    while True:
        await queue.look()
        for number, view in queue.fitting(""):
            mins = minutes(view, ctx.clock())
            name, category = clean(view.participant_name), clean(view.category or "-")
            typer.echo(
                f"{number:>3}  {name} · {category} · {view.charged} · {mins} min · {short_state(view)}"
            )
        typed = typer.prompt(
            "Row, name or receipt (q leaves, Enter looks again)", default="", show_default=False
        )
        if typed.strip().lower() == "q":
            return
        if not typed.strip():
            continue
        picked = queue.choice(typed) or await queue.find(typed.strip())
        if isinstance(picked, str):
            err().print(picked)
            continue
        number_typed = typer.prompt("Operation number on the receipt", default="", show_default=False)
        if not number_typed.strip():
            continue
        done = await _try(ctx, actor, picked, number_typed)
        if isinstance(done, str):
            say(done, fg="red")
        else:
            say(f"✓ PAID {clean(picked.participant_name)} {picked.charged}", fg="green", bold=True)
            hint(f"procomp-pay status --payment {picked.payment_id}")
