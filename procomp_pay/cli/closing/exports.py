"""Write a day's exports for accounting into a folder, as a step of its closing."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from procomp_pay.cli.exports.formats import write_csv
from procomp_pay.cli.reports import files
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.exports import Export
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.closing.closing import Closing
    from procomp_pay.services.context import AppContext


def absolute(folder: Path) -> str:
    """Return the folder as it is recorded: another run may begin elsewhere."""
    return str(expanded(folder).absolute())


def expanded(path: Path) -> Path:
    """Return a path with the home folder for ``~``.

    :raises Refused: nobody has that name.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise Refused(
            N_("There is no directory %(parent)s", parent=path.parts[0]),
            next_step=N_("choose another path"),
        ) from None


async def write_exports(ctx: AppContext, closing: Closing, folder: str) -> list[dict[str, Any]]:
    """Write payments, refunds and, for all tournaments, payouts of the day as CSV; return what, file, rows
    and SHA-256 of each. A file that has this content already is not written again.

    :raises Refused: a file cannot be written.
    """
    from procomp_pay.services.exports.movements import movements

    target = files.private_folder(Path(folder))
    tournament = closing.tournament[0] if closing.tournament else None
    written = []
    for what in Export:
        if what is Export.PAYOUTS and tournament is not None:
            continue  # a tournament has none of its own
        name = "-".join(filter(None, ("closing", closing.day.isoformat(), tournament, what.value)))
        path = target / f"{name}.csv"
        with tempfile.TemporaryFile() as made:
            rows = movements(ctx, what, closing.period, tournament)
            count = await write_csv(made, rows, for_excel=True)
            digest = _digest(made)
            if not _has(path, digest):
                files.write(str(path), lambda stream, made=made: _copy(made, stream), force=True)  # type: ignore[misc]
        written.append({"what": what.value, "file": str(path), "rows": count, "sha256": digest})
    return written


def _copy(made: IO[bytes], stream: IO[bytes]) -> None:
    made.seek(0)
    shutil.copyfileobj(made, stream)


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _has(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as stream:
            return _digest(stream) == digest
    except OSError:
        return False
