"""Write a report's files: atomically, and never over an existing one unless forced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

#: The file name that means standard output.
STDOUT = "-"


def check(targets: Sequence[str | None], *, force: bool, as_json: bool) -> None:
    """Check all outputs before the report is created.

    :raises Refused: a file exists, two outputs have the same target, or a directory is missing.
    """
    given = [target for target in targets if target is not None]
    if given.count(STDOUT) + as_json > 1:
        raise Refused(N_("Only one output can go to stdout"), next_step=N_("write the others to files"))
    paths = [Path(target).absolute() for target in given if target != STDOUT]
    if len(set(paths)) < len(paths):
        raise Refused(N_("Two outputs have the same file"), next_step=N_("give each its own file"))
    for path in paths:
        _check_path(path, force)


def _check_path(path: Path, force: bool) -> None:
    if path.is_dir():
        raise Refused(
            N_("%(path)s is a directory", path=path),
            next_step=N_("give a file: %(path)s", path=path / "report"),
        )
    if not path.parent.is_dir():
        raise Refused(
            N_("There is no directory %(parent)s", parent=path.parent),
            next_step=f"mkdir -p {path.parent}",
        )
    if path.is_file() and not force:
        raise _exists(path)


def _exists(path: Path) -> Refused:
    return Refused(
        N_("%(path)s exists already", path=path),
        next_step=N_("choose another name, or add --force to overwrite it"),
    )


def write(target: str, fill: Callable[[IO[bytes]], object], *, force: bool) -> None:
    """Write a file or stdout. A reader sees the old file or the complete new one, and is its owner: names and
    sums are not for every user of the machine.

    :raises Refused: the file exists, or cannot be written.
    """
    if target == STDOUT:
        fill(sys.stdout.buffer)
        sys.stdout.flush()
        return
    path = Path(target).absolute()
    try:
        if path.exists() and not path.is_file():  # a pipe, or /dev/null
            with path.open("wb") as stream:
                fill(stream)
        else:
            _write_whole(path, fill, force)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise Refused(
            N_("%(path)s cannot be written: %(why)s", path=console.clean(path), why=error.strerror),
            next_step=N_("choose another path"),
        ) from error


def private_folder(path: Path) -> Path:
    """Return a folder; one that is new only its owner may open.

    :raises Refused: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            N_("%(path)s cannot be written: %(why)s", path=console.clean(path), why=error.strerror),
            next_step=N_("choose another path"),
        ) from error
    return path


def _write_whole(path: Path, fill: Callable[[IO[bytes]], object], force: bool) -> None:
    # the number of a process comes again: in a container it is the same each time
    part = path.with_name(f".{path.name}.{token_hex(8)}.part")
    try:
        with open(part, "xb", opener=_private) as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            part.replace(path)
        else:
            _link_or_replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _private(path: str, flags: int) -> int:
    """Open a new file that only its owner may read and write, whatever the umask."""
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):  # not on Windows
        os.fchmod(descriptor, 0o600)
    return descriptor


def _link_or_replace(part: Path, path: Path) -> None:
    """Give the finished file its name, unless another file got that name meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        part.replace(path)
