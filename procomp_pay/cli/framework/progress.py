"""Progress on stderr, at a terminal only. rich is imported only there."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _

#: Seconds until a provider that is being asked is named.
_SLOW_S = 1.0


@contextmanager
def bar(name: str, total: Callable[[], int | None], *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar; yield what to call with how many are done.

    :param total: returns how many there are; called when the first are done.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console.err(), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done: progress.update(task, completed=done, total=total())


@asynccontextmanager
async def asking(provider: str, *, quiet: bool) -> AsyncIterator[None]:
    """Show which provider is being asked, while an answer takes longer than a second."""
    import asyncio

    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    shown = False

    async def show() -> None:
        nonlocal shown
        await asyncio.sleep(_SLOW_S)
        shown = True
        sys.stderr.write(_("Asking %(provider)s …", provider=provider))
        sys.stderr.flush()

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        if shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


@contextmanager
def reading_bar(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show how much of a file is read; yield what to call with bytes read and bytes in total."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(_("Reading %(file)s …", file="{task.description}")),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console.err(), transient=True) as progress:
        task = progress.add_task(console.safe(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def counters(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Show counts without a known total, and their rate; yield what to call with a name and its count."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:>9,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err(), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, count: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(_(name), total=None, rate="")
            progress.update(tasks[name], completed=count)
            speed = progress.tasks[tasks[name]].speed
            progress.update(tasks[name], rate=f"{speed:,.0f}/s" if speed else "")

        yield show
