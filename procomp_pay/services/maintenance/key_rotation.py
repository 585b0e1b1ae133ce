"""Put every encrypted column under the newest key, beside a running desk.

Nothing is kept about how far it came: what the newest key reads is done. So it may be killed at any point and
run again; a row that is written meanwhile is left as written, and found by the count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.errors import retrying
from procomp_pay.storage.encryption import keyring as crypto
from procomp_pay.storage.encryption import rotation
from procomp_pay.storage.encryption.rotation import EncryptedColumn

#: Rows that a report names; the others are counted.
MOST_NAMED = 20
Progress = Callable[[int], None]


@dataclass(slots=True)
class Count:
    """What the keys read.

    :param old: an older key is needed.
    :param unreadable: none of the keys reads them.
    :param named: those, as far as they are named.
    """

    rows: int = 0
    old: int = 0
    unreadable: int = 0
    named: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rotation:
    """What was done, and what is left.

    :param rotated: now under the newest key.
    :param left: as counted afterwards.
    """

    rotated: int
    left: Count


async def size(ctx: AppContext) -> int:
    """Return the number of ciphertexts."""
    total = 0
    async with ctx.db.reading() as session:
        for place in rotation.PLACES:
            total += await rotation.count(session, place)
    return total


async def count(ctx: AppContext, *, on_progress: Progress | None = None, enough: int | None = None) -> Count:
    """Look which keys the rows need; changes nothing.

    :param enough: stop at so many that need an older key.
    """
    found = Count()
    for place in rotation.PLACES:
        after = ""
        while True:
            async with ctx.db.reading() as session:
                rows = await rotation.page(session, place, after)
            for key, token in rows:
                _look(ctx, place, key, token, found)
            if on_progress is not None:
                on_progress(found.rows)
            if len(rows) < rotation.PAGE:
                break
            if enough is not None and found.old >= enough:
                return found
            after = rows[-1][0]
    return found


def _look(ctx: AppContext, place: EncryptedColumn, key: str, token: str, found: Count) -> None:
    found.rows += 1
    if ctx.keyring.is_newest(token):
        return
    try:
        ctx.keyring.unseal(token)
    except ConfigurationError:
        found.unreadable += 1
        if len(found.named) < MOST_NAMED:
            found.named.append(f"{place.name} of {key}")
    else:
        found.old += 1


async def rotate(ctx: AppContext, *, on_progress: Progress | None = None) -> Rotation:
    """Re-encrypt what is encrypted under an older key, page by page, then count.

    :raises DatabaseUnavailable: what was re-encrypted is kept; run it again.
    """
    done = checked = 0
    for place in rotation.PLACES:
        after = ""
        while True:
            async with ctx.db.reading() as session:
                rows = await rotation.page(session, place, after)
            done += await _replace(ctx, place, rows)
            checked += len(rows)
            if on_progress is not None:
                on_progress(checked)
            if len(rows) < rotation.PAGE:
                break
            after = rows[-1][0]
    return Rotation(done, await count(ctx))


async def _replace(ctx: AppContext, place: EncryptedColumn, rows: list[tuple[str, str]]) -> int:
    changes = []
    for key, token in rows:
        if ctx.keyring.is_newest(token):
            continue
        try:
            changes.append((key, token, ctx.keyring.rotate(token)))
        except ConfigurationError:
            continue  # none of the keys reads it: counted and named afterwards
    if not changes:
        return 0

    async def write() -> int:
        async with ctx.db.writing() as session:
            return await rotation.replace(session, place, changes)

    return await retrying(write)


async def add_key_where_due(ctx: AppContext, path: Path) -> bool:
    """On the embedded default: a new key, unless an earlier rotation did not come to its end.

    :returns: whether one was made.
    :raises ConfigurationError: the key file cannot be written.
    """
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=30, mode=0o600):
        if len(ctx.keyring) > 1 and (await count(ctx, enough=1)).old:
            return False
        crypto.add_key(path)
    return True
