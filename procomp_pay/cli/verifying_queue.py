"""The live queue: pick a payment by its number, type the operation number, see it turn green.

A line keeps its number as long as the queue is open, so that a number which is being typed never becomes
another payment's.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli import verifying_screen as screen
from procomp_pay.cli.common import clean, err, hint, safe, say
from procomp_pay.cli.verifying_keys import ESCAPE, Keys, Line, can_read, keyboard
from procomp_pay.cli.verifying_words import minutes, short_state
from procomp_pay.domain import short_code
from procomp_pay.domain.errors import DatabaseUnavailable, NotFound, PaymentError
from procomp_pay.domain.people import search_key
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.verification import KaspiWord
from procomp_pay.payments import views
from procomp_pay.payments.verify import Verified, VerifyOrder, verify
from procomp_pay.payments.verify_ask import ask
from procomp_pay.payments.waiting import waiting

if TYPE_CHECKING:
    from procomp_pay.payments.desk import Actor, Desk
    from procomp_pay.payments.views import PaymentView

#: Between two looks at our own database, in seconds.
_LOOK_S = 1.0
#: How long a green screen stays by itself, in seconds.
_GREEN_S = 10.0
#: Between two questions to Kaspi about the payment on the screen, in seconds; Kaspi's usual interval.
_ASK_S = 5.0


async def attend(desk: Desk, actor: Actor, mark: str | None) -> None:
    """Until Esc, at a terminal.

    :param mark: stands above everything while no real money moves.
    :raises DatabaseUnavailable: at the first look.
    """
    queue = Queue(desk)
    await queue.look()
    if not can_read():
        await _line_by_line(desk, actor, queue)
        return
    with screen.Board(err(), mark) as board, keyboard() as keys:
        notice = None
        while (picked := await _pick(queue, board, keys, notice)) is not None:
            notice = await _attend_one(desk, actor, picked, board, keys)


class Queue:
    """Who waits, each with a number of their own."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.clock = desk.clock
        self._numbers: dict[str, int] = {}
        self._rows: list[PaymentView] = []

    async def look(self) -> None:
        """Read again.

        :raises DatabaseUnavailable: what was read before stays.
        """
        self._rows = await waiting(self._desk)
        for view in self._rows:
            self._numbers.setdefault(view.payment_id, len(self._numbers) + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def fitting(self, typed: str) -> list[tuple[int, PaymentView]]:
        """The lines that fit what has been typed: all of them for a number."""
        rows = [(self._numbers[view.payment_id], view) for view in self._rows]
        typed = typed.strip()
        if not typed or typed.isdigit():
            return rows
        key, code = search_key(typed), _as_code(typed)
        return [
            row
            for row in rows
            if key in search_key(f"{row[1].participant_name} {row[1].category or ''}")
            or (code is not None and code == row[1].code)
        ]

    def choice(self, typed: str) -> PaymentView | None:
        """What a whole line picks: the line of that number, or the only one that fits."""
        rows = self.fitting(typed)
        if typed.strip().isdigit():
            return next((view for number, view in rows if str(number) == typed.strip()), None)
        return rows[0][1] if len(rows) == 1 else None


def _not_one(typed: str, fit: int) -> str:
    """Why nothing was picked."""
    if fit > 1 and not typed.isdigit():
        return f"[yellow]{fit} fit {safe(typed[:20])!r}: type the number in front of the name[/]"
    search = f"procomp-pay participant list --search {shlex.quote(typed[:20])}"
    return f"[yellow]Nobody who waits fits {safe(typed[:20])!r}: paid already? See: {safe(search)}[/]"


def _as_code(typed: str) -> str | None:
    """A payment's code as the list has it, where that was typed."""
    try:
        return short_code.shown(short_code.read(typed))
    except NotFound:
        return None


async def _pick(queue: Queue, board: screen.Board, keys: Keys, notice: str | None) -> PaymentView | None:
    """The list, until a line is picked or Esc is pressed."""
    line, clock = Line(), queue.clock
    while True:
        with suppress(DatabaseUnavailable):  # the list stays as it was; the next look may work
            await queue.look()
        while True:
            rows = queue.fitting(line.text)
            board.put(screen.queue_screen(board.room, rows, len(queue), clock(), line.text, notice))
            key = await keys.next(_LOOK_S)
            if key is None:
                break
            if key == ESCAPE and not line.text:
                return None
            if key == ESCAPE:
                line.take()
            elif line.press(key):
                typed = line.take()
                if typed.lower() in ("q", "quit", "exit", "й"):
                    return None
                if typed and (picked := queue.choice(typed)) is not None:
                    return picked
                notice = _not_one(typed, len(queue.fitting(typed))) if typed else None


async def _attend_one(
    desk: Desk, actor: Actor, view: PaymentView, board: screen.Board, keys: Keys
) -> str | None:
    """One payment: Kaspi is asked while the clerk looks at the receipt. What the list says afterwards."""
    line, trouble, asking = Line(), None, Asking(desk, view.payment_id, actor)
    try:
        while True:
            word = asking.word
            with suppress(PaymentError):
                view = await views.one(desk, view.payment_id)
            if view.status is PaymentStatus.COMPLETED:
                return await _green(view, board, keys, None)
            typed = await _number(board, keys, line, view, word, trouble)
            if typed == "":
                return None
            if typed is not None:
                board.put(screen.payment_screen(board.room, view, word, "", None, busy=True))
                done = await _try(desk, actor, view, typed)
                if isinstance(done, Verified):
                    return await _green(await views.one(desk, view.payment_id), board, keys, _remark(done))
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
            return ""
        if line.press(key):
            return line.take()


class Asking:
    """Kaspi is asked about one payment, and again a little later, as long as its screen is open.

    ``word`` is what it said last; ``None`` before its first answer.
    """

    def __init__(self, desk: Desk, payment_id: str, actor: Actor) -> None:
        self.word: str | None = None
        self._task = asyncio.create_task(self._ask_on(desk, payment_id, actor))

    async def end(self) -> None:
        """Stop."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _ask_on(self, desk: Desk, payment_id: str, actor: Actor) -> None:
        while True:
            try:
                self.word = (await ask(desk, payment_id, actor)).value
            except PaymentError:
                self.word = KaspiWord.NO_ANSWER.value
            await asyncio.sleep(_ASK_S)


async def _try(desk: Desk, actor: Actor, view: PaymentView, typed: str) -> Verified | str:
    """Verify; what to say where it was refused."""
    try:
        return await verify(desk, VerifyOrder(view.payment_id, typed), actor)
    except PaymentError as error:
        return clean(error.message) + (f"\n→ {clean(error.next_step)}" if error.next_step else "")


def _remark(done: Verified) -> str | None:
    if done.kaspi is KaspiWord.PAID:
        return None
    return "By your word: Kaspi is still asked, and a person is told if it disagrees."


async def _green(view: PaymentView, board: screen.Board, keys: Keys, remark: str | None) -> str:
    board.put(screen.paid_screen(view, remark, utf8=board.console.encoding.startswith("utf")))
    await keys.next(_GREEN_S)
    return f"[green]✓ PAID {safe(view.participant_name)} {view.charged}[/]"


async def _line_by_line(desk: Desk, actor: Actor, queue: Queue) -> None:
    """For a terminal that gives whole lines only: the same in questions and answers."""
    while True:
        await queue.look()
        for number, view in queue.fitting(""):
            mins = minutes(view, desk.clock())
            name, category = clean(view.participant_name), clean(view.category or "-")
            typer.echo(
                f"{number:>3}  {name} · {category} · {view.charged} · {mins} min · {short_state(view)}"
            )
        typed = typer.prompt("Number or name (q leaves, Enter looks again)", default="", show_default=False)
        if typed.strip().lower() == "q":
            return
        picked = queue.choice(typed) if typed.strip() else None
        if picked is None:
            continue
        number_typed = typer.prompt("Operation number on the receipt", default="", show_default=False)
        if not number_typed.strip():
            continue
        done = await _try(desk, actor, picked, number_typed)
        if isinstance(done, str):
            say(done, fg="red")
        else:
            say(f"✓ PAID {clean(picked.participant_name)} {picked.charged}", fg="green", bold=True)
            hint(f"procomp-pay status --payment {picked.payment_id}")
