"""Re-encrypt every encrypted column with the newest key, and sign the records of erasures again, while the
system is in use.

No progress is stored: a row that the newest key decrypts is done. So the run may be killed at any point and
started again. A row that is written meanwhile is left unchanged, and appears in the count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from procomp_pay.domain.errors import ConfigurationError, NotFound
from procomp_pay.services.context import SYSTEM, AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit import erasure
from procomp_pay.storage.database.retry import retrying
from procomp_pay.storage.encryption import keyring as crypto
from procomp_pay.storage.encryption import rotation
from procomp_pay.storage.encryption.rotation import EncryptedColumn
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.payments.repository import lock_payment

#: Rows listed in a report; further ones are only counted.
MOST_NAMED = 20
Progress = Callable[[int], None]


@dataclass(slots=True)
class Count:
    """The number of ciphertexts, and of signed records of erasures, by the key that they need.

    :param old: those that need an older key.
    :param unreadable: those that none of the keys decrypts, or that none signed.
    :param named: the places of the unreadable ones, at most :data:`MOST_NAMED`.
    """

    rows: int = 0
    old: int = 0
    unreadable: int = 0
    named: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rotation:
    """The result of a rotation.

    :param rotated: number of ciphertexts that were re-encrypted, and of records that were signed again.
    :param left: the count afterwards.
    """

    rotated: int
    left: Count


async def size(ctx: AppContext) -> int:
    """Return the number of ciphertexts and signed records."""
    total = len(await _records(ctx))
    async with ctx.db.reading() as session:
        for column in rotation.COLUMNS:
            total += await rotation.count(session, column)
    return total


async def count(ctx: AppContext, *, on_progress: Progress | None = None, enough: int | None = None) -> Count:
    """Count which keys the rows need, without changing anything.

    :param enough: stop when this many rows need an older key.
    """
    result = Count()
    for column in rotation.COLUMNS:
        async for rows in _pages(ctx, column):
            for key, token in rows:
                _classify(ctx, column, key, token, result)
            if on_progress is not None:
                on_progress(result.rows)
            if enough is not None and result.old >= enough:
                return result
    for record in await _records(ctx):
        result.rows += 1
        match erasure.signed_by(ctx.keyring, record):
            case None:
                _cannot_read(result, f"the erasure in the audit trail of payment {record.payment_id}")
            case number:
                result.old += number > 0
    return result


async def _records(ctx: AppContext) -> list[AuditEntry]:
    async with ctx.db.reading() as session:
        return await erasure.newest_records(session)


async def _pages(ctx: AppContext, column: EncryptedColumn) -> AsyncIterator[list[tuple[str, str]]]:
    after = ""
    while True:
        async with ctx.db.reading() as session:
            rows = await rotation.page(session, column, after)
        yield rows
        if len(rows) < rotation.PAGE:
            return
        after = rows[-1][0]


def _classify(ctx: AppContext, column: EncryptedColumn, key: str, token: str, result: Count) -> None:
    result.rows += 1
    if ctx.keyring.is_newest(token):
        return
    try:
        ctx.keyring.unseal(token)
    except ConfigurationError:
        _cannot_read(result, f"{column.name} of {key}")
    else:
        result.old += 1


def _cannot_read(result: Count, name: str) -> None:
    result.unreadable += 1
    if len(result.named) < MOST_NAMED:
        result.named.append(name)


async def rotate(ctx: AppContext, *, on_progress: Progress | None = None) -> Rotation:
    """Re-encrypt what is encrypted under an older key, page by page, then count.

    :raises DatabaseUnavailable: what was re-encrypted is kept; run it again.
    """
    done = checked = 0
    for column in rotation.COLUMNS:
        async for rows in _pages(ctx, column):
            done += await _replace(ctx, column, rows)
            checked += len(rows)
            if on_progress is not None:
                on_progress(checked)
    for record in await _records(ctx):
        if erasure.signed_by(ctx.keyring, record):  # neither None nor 0: by an older key
            done += await retrying(partial(_sign_again, ctx, record.payment_id))
    return Rotation(done, await count(ctx))


async def _sign_again(ctx: AppContext, payment_id: str) -> int:
    """Append a record with the digests of the newest one, signed with the newest key; return how many."""
    async with ctx.db.writing() as session:
        if not payment_id.startswith(audit.OF_NO_PAYMENT):
            try:
                await lock_payment(session, payment_id)
            except NotFound:
                return 0  # deleted, as `audit verify` finds; its record is counted afterwards
        trail = await audit.entries(session, payment_id)
        erasures = erasure.of(ctx.keyring, trail)
        if erasures.unproven() or erasures.unsigned:
            return 0  # changed, as `audit verify` finds
        by = (SYSTEM.name, SYSTEM.source)
        await erasure.record(session, ctx.keyring, trail, by=by, erased=[], at=ctx.clock())
    return 1


async def _replace(ctx: AppContext, column: EncryptedColumn, rows: list[tuple[str, str]]) -> int:
    changes = []
    for key, token in rows:
        if ctx.keyring.is_newest(token):
            continue
        try:
            changes.append((key, token, ctx.keyring.rotate(token)))
        except ConfigurationError:
            continue  # none of the keys decrypts it: counted and listed afterwards
    if not changes:
        return 0

    async def write() -> int:
        async with ctx.db.writing() as session:
            return await rotation.replace(session, column, changes)

    return await retrying(write)


async def add_key_where_due(ctx: AppContext, path: Path) -> bool:
    """Add a new key to the key file of the embedded default, unless an earlier rotation is unfinished.

    :returns: True if a key was added.
    :raises ConfigurationError: the key file cannot be written.
    """
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=30, mode=0o600):
        if len(ctx.keyring) > 1 and (await count(ctx, enough=1)).old:
            return False
        crypto.add_key(path)
    return True
