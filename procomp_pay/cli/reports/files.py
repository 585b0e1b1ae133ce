"""Where a report's files go: whole or not at all, and never over one that is there already."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Refused

#: In place of a file's name: standard output.
STDOUT = "-"


def check(targets: Sequence[str | None], *, force: bool, as_json: bool) -> None:
    """Refuse what cannot work before anything is counted.

    :raises Refused: a file is there already, two things want one place, or a directory is missing.
    """
    wanted = [each for each in targets if each is not None]
    if wanted.count(STDOUT) + as_json > 1:
        raise Refused("Only one thing can go to standard output", next_step="give the others a file")
    paths = [Path(each).absolute() for each in wanted if each != STDOUT]
    if len(set(paths)) < len(paths):
        raise Refused("Two outputs have the same file", next_step="give each its own")
    for path in paths:
        _check_path(path, force)


def _check_path(path: Path, force: bool) -> None:
    if path.is_dir():
        raise Refused(f"{path} is a directory", next_step=f"write a file: {path / 'report'}")
    if not path.parent.is_dir():
        raise Refused(f"There is no directory {path.parent}", next_step=f"mkdir -p {path.parent}")
    if path.is_file() and not force:
        raise _there_already(path)


def _there_already(path: Path) -> Refused:
    return Refused(f"{path} is there already", next_step="another name, or --force to write over it")


def write(target: str, fill: Callable[[IO[bytes]], None], *, force: bool) -> None:
    """Write a file, or standard output. A reader sees the old file or the whole new one.

    :raises Refused: it is there already, or cannot be written.
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
        raise _there_already(path) from None
    except OSError as error:
        raise Refused(
            f"{console.clean(path)} cannot be written: {error.strerror}", next_step="choose another place"
        ) from error


def _write_whole(path: Path, fill: Callable[[IO[bytes]], None], force: bool) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
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


def _link_or_replace(part: Path, path: Path) -> None:
    """Give it its name, unless somebody else took that meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        part.replace(path)
