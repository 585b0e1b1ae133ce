"""The bar on stderr while a statement is read; loaded where a person looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from procomp_pay.cli.framework.common import err, safe


@contextmanager
def reading_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told bytes done and bytes of all, and goes away at the end."""
    columns = (
        TextColumn("Reading {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(safe(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
