"""Find operation numbers that appear twice in a file, with eight bytes of memory per line."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from itertools import compress
from tempfile import TemporaryFile
from typing import IO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.table import EXPORT_AGAIN

#: There are 256 buckets; a hash's last bits choose one.
LAST_BUCKET = 255
#: Numbers that may appear twice; a file with more of them is two exports in one.
MOST = 100_000


class RepeatedKeys:
    """Collect keys in the first pass, to find those that may appear twice.

    Only hashes are kept, and different keys may have the same one.
    """

    def __init__(self) -> None:
        #: Add a hash to the bucket that its last bits choose.
        self.buckets = [array("q") for _ in range(LAST_BUCKET + 1)]

    def found(self) -> frozenset[int]:
        """Return the hashes that were added more than once, and empty the buckets.

        :raises InvalidStatement: more than 100,000.
        """
        twice: set[int] = set()
        for bucket in self.buckets:
            previous = None
            for hashed in sorted(bucket):
                if hashed == previous:
                    twice.add(hashed)
                previous = hashed
            del bucket[:]
            if len(twice) > MOST:
                raise InvalidStatement(
                    N_(
                        "More than %(most)s operation numbers appear twice: two exports in one file?",
                        most=MOST,
                    ),
                    next_step=EXPORT_AGAIN,
                )
        return frozenset(twice)


#: Hashes that are compared at a time, as Python objects.
_AT_A_TIME = 250_000
#: Hashes that are kept in memory before they are written to disk.
_BUFFERED = 1 << 17


class LineHashes:
    """Store a hash of eight bytes for each line of a file, on disk, so that memory stays flat."""

    def __init__(self) -> None:
        self._buffer = array("q")
        self._file: IO[bytes] | None = None
        self._count = 0

    def add(self, hashes: Iterable[int]) -> None:
        """Add many hashes."""
        before = len(self._buffer)
        self._buffer.extend(hashes)
        self._count += len(self._buffer) - before
        if len(self._buffer) >= _BUFFERED:
            if self._file is None:
                self._file = TemporaryFile()  # noqa: SIM115 - closed with the reader that owns it
            self._buffer.tofile(self._file)
            del self._buffer[:]

    def has_repeated(self) -> bool:
        """Return whether any hash was added twice. Only a part of them, chosen by one byte, is in memory."""
        parts = min(self._count // _AT_A_TIME + 1, LAST_BUCKET + 1)
        for part in range(parts):
            is_chosen = bytes(byte % parts == part for byte in range(LAST_BUCKET + 1))
            seen: set[int] = set()
            count = 0
            for hashes in self._all():
                first_bytes = hashes.tobytes()[:: hashes.itemsize]
                chosen = list(compress(hashes, first_bytes.translate(is_chosen)))
                seen.update(chosen)
                count += len(chosen)
            if len(seen) < count:
                return True
        return False

    def isdisjoint(self, others: set[int]) -> bool:
        """Return whether none of ``others`` was added."""
        return not others or all(others.isdisjoint(hashes) for hashes in self._all())

    def _all(self) -> Iterator[array[int]]:
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(_BUFFERED * self._buffer.itemsize):
                yield array("q", block)
        yield self._buffer


def repeated(hashes: Iterable[int]) -> frozenset[int]:
    """Return the hashes that appear more than once, of a few."""
    return frozenset(hashed for hashed, count in Counter(hashes).items() if count > 1)


class SeenLines:
    """Remember the lines of the second pass whose keys may appear twice."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, Hashable]] = {}

    def before(self, key: Hashable, line: int, content: Hashable) -> tuple[int, bool] | None:
        """Return the line where the key appeared first and whether its content was the same.

        ``None`` the first time.
        """
        first = self._seen.get(key)
        if first is None:
            self._seen[key] = (line, content)
            return None
        return first[0], first[1] == content
