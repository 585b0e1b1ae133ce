"""Keep old audit entries in files of JSON Lines, and remove them from the database.

A file has a head line with the seal that it ends at, then one line for each entry in the order of the
database, then a last line with the number of entries and the SHA-256 of all lines before it. The record of a
file is an entry of a chain of its own (:data:`CHAIN`), so that seals cover it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import ConfigurationError, ManualReviewRequired, Refused
from procomp_pay.storage.audit.read import Link
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.types import utc_text

#: The chain of the records of archives, in the place of a payment's id.
CHAIN = "audit-archive"
#: The action of such a record.
ARCHIVED = "audit_archived"
_KIND = "procomp-pay audit archive"
_FIELDS = (
    "id", "payment_id", "seq", "at", "actor", "source", "source_id", "request_id", "action", "before",
    "after", "note", "prev_hash", "hash",
)  # fmt: skip
#: What a line raises that is no entry of ours.
_NO_ENTRY = (
    ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError,
    sqlite3.ProgrammingError, sqlite3.InterfaceError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Archive:
    """The record of one file.

    :param seal: number of the seal that it ends at. :param root: of that seal.
    :param after_id: the entries after this id, :param last_entry_id: up to this one, are in it.
    """

    file: str
    seal: int
    root: str
    after_id: int
    last_entry_id: int
    entries: int
    sha256: str

    def full(self) -> dict[str, Any]:
        """Return all fields, as the audit trail stores them."""
        return {name: getattr(self, name) for name in self.__slots__}


async def recorded(session: AsyncSession) -> list[Archive]:
    """Return the records of all archives, oldest first.

    :raises ManualReviewRequired: one is not as we write them.
    """
    rows = await session.exec(
        select(AuditEntry)
        .where(AuditEntry.payment_id == CHAIN, AuditEntry.action == ARCHIVED)
        .order_by(col(AuditEntry.seq))
    )
    return [_archive(row) for row in rows.all()]


def _archive(row: AuditEntry) -> Archive:
    match row.after:
        case {
            "file": str(), "seal": int(), "root": str(), "after_id": int(), "last_entry_id": int(),
            "entries": int(), "sha256": str(),
        }:  # fmt: skip
            return Archive(**{name: row.after[name] for name in Archive.__slots__})
    raise ManualReviewRequired(
        f"The record of an archive, entry {row.seq} of the chain {CHAIN!r} in pay_audit_entry, was changed",
        next_step="compare this row with a backup, and bring it back",
    )


async def files_of(session: AsyncSession, payment_ids: Sequence[str]) -> list[str]:
    """Return the files that may hold entries of these payments: made since the oldest payment was, and from
    before the newest entry."""
    records = await recorded(session)
    if not records or not payment_ids:
        return []
    of_payments = col(AuditEntry.payment_id).in_(payment_ids)
    newest = (await session.exec(select(func.max(AuditEntry.id)).where(of_payments))).one() or 0
    created = select(func.min(Payment.created_at)).where(col(Payment.id).in_(payment_ids)).scalar_subquery()
    seals = (await session.exec(select(AuditSeal.number).where(AuditSeal.sealed_at >= created))).all()
    return [record.file for record in records if record.seal in seals and record.after_id < newest]


async def cut(session: AsyncSession, ids: Sequence[int]) -> None:
    """Delete entries that are in an archive."""
    await session.exec(delete(AuditEntry).where(col(AuditEntry.id).in_(ids)))


class Writer:
    """Write an archive: to a temporary file first, so that a file of the final name is whole. A context
    manager."""

    def __init__(self, path: Path, made: Archive) -> None:
        _check_name_is_free(path, made)
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._digest, self.entries = hashlib.sha256(), 0
        try:
            self._part.unlink(missing_ok=True)
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _cannot(self._part, error) from None
        self._file = os.fdopen(descriptor, "wb")
        names = ("seal", "root", "after_id", "last_entry_id")
        self._line({"kind": _KIND, "version": 1} | {name: getattr(made, name) for name in names})

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: AuditEntry) -> None:
        """Add the next entry."""
        fields = {name: getattr(entry, name) for name in _FIELDS}
        self._line(fields | {"at": utc_text(entry.at)})
        self.entries += 1

    def close(self) -> str:
        """Write the last line, and give the file its name once it is on the disk; return the SHA-256."""
        digest = self._digest.hexdigest()
        try:
            self._file.write(exact_json.dumps({"entries": self.entries, "sha256": digest}).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        except OSError as error:
            raise _cannot(self._path, error) from None
        return digest

    def _line(self, content: dict[str, Any]) -> None:
        line = exact_json.dumps(content, canonical=True).encode() + b"\n"
        self._digest.update(line)
        try:
            self._file.write(line)
        except OSError as error:
            raise _cannot(self._part, error) from None


class ArchivedEntries:
    """The entries of archives, checked against their records, and indexed in a temporary file, so that memory
    stays small. A context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="procomp-pay-audit-")
        self._index = sqlite3.connect(Path(self._folder.name) / "index")
        self._index.execute(
            "CREATE TABLE line (payment TEXT, seq INTEGER, content TEXT, path TEXT, "
            "PRIMARY KEY (payment, seq))"
        )
        self._index.execute("CREATE TABLE seen (payment TEXT PRIMARY KEY)")

    def __enter__(self) -> ArchivedEntries:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self._folder.cleanup()

    def load(self, directory: Path, archive: Archive) -> None:
        """Read a file.

        :raises ManualReviewRequired: it is missing, or not what its record says.
        """
        path = directory / archive.file
        with self._index:
            for number, content in enumerate(lines(path, archive), start=2):
                try:
                    entry = json.loads(content)
                    row = (entry["payment_id"], entry["seq"], content, str(path))
                    self._index.execute("INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?)", row)
                except _NO_ENTRY:
                    raise _unreadable(path, f"line {number} is no entry") from None

    def chain(self, payment_id: str) -> Iterator[Link]:
        """Yield the archived entries of a payment, oldest first.

        :raises ManualReviewRequired: one cannot be read.
        """
        self._index.execute("INSERT OR IGNORE INTO seen VALUES (?)", (payment_id,))
        query = "SELECT content, path FROM line WHERE payment = ? ORDER BY seq"
        for content, path in self._index.execute(query, (payment_id,)):
            try:
                yield _link(content)
            except _NO_ENTRY:
                raise _unreadable(Path(path), f"an entry of payment {payment_id} is none of ours") from None

    def unseen(self) -> Iterator[str]:
        """Yield the payments of which :meth:`chain` was not asked."""
        query = "SELECT DISTINCT payment FROM line WHERE payment NOT IN (SELECT payment FROM seen)"
        for (payment,) in self._index.execute(query):
            yield payment


def lines(path: Path, archive: Archive) -> Iterator[str]:
    """Yield the lines of a file's entries; the last one is followed by the check of all.

    :raises ManualReviewRequired: it is missing, or not what its record says.
    """
    digest, last, count = hashlib.sha256(), b"", -1  # the head line is no entry
    try:
        with path.open("rb") as file:
            for line in file:
                if last:
                    digest.update(last)
                    if count > 0:
                        yield last.decode()
                last, count = line, count + 1
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise _unreadable(path, str(reason)) from None
    if digest.hexdigest() != archive.sha256 or count - 1 != archive.entries:
        raise ManualReviewRequired(
            f"The audit archive {path} was changed: it is not the file of seal {archive.seal}, with "
            f"{archive.entries} entries",
            next_step=f"bring {archive.file} back from where archives are kept",
        )


def _unreadable(path: Path, reason: str) -> ManualReviewRequired:
    return ManualReviewRequired(
        f"The audit archive {path} cannot be read: {reason}",
        next_step=f"bring {path.name} back from where archives are kept",
    )


def _check_name_is_free(path: Path, made: Archive) -> None:
    """
    :raises Refused: there is a file of this name that is not an earlier try of the same archive.
    """
    try:
        with path.open("rb") as file:
            is_ours = json.loads(file.readline())["root"] == made.root
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise Refused(
            f"{path} exists and is not of this audit trail", next_step="give a directory of its own"
        )


def _link(content: str) -> Link:
    fields = exact_json.loads(content)
    at = datetime.fromisoformat(fields["at"])
    entry = AuditEntry(**(fields | {"at": at if at.tzinfo else at.replace(tzinfo=UTC)}))
    return Link(entry.payment_id, entry.seq, int(entry.id or 0), entry.prev_hash, entry.hash, entry)


def _cannot(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be written: {error.strerror}",
        next_step="give a directory that exists, is ours and has room",
    )
