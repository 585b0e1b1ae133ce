"""Operation numbers that stand in a file twice, found in eight bytes for each line."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from itertools import compress
from tempfile import TemporaryFile
from typing import IO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.table import EXPORT_AGAIN

#: The buckets are 256; a hash's last bits choose one.
LAST_BUCKET = 255
#: So many may stand twice; a file with more is two exports in one.
MOST = 100_000


class RepeatedKeys:
    """First pass: which keys may stand twice. LineHashes alone are kept, so a suspect need not be guilty."""

    def __init__(self) -> None:
        #: Whoever fills them puts a hash into the one that its last bits say.
        self.buckets = [array("q") for _ in range(LAST_BUCKET + 1)]

    def found(self) -> frozenset[int]:
        """The hashes that came more than once.

        :raises InvalidStatement: far too many.
        """
        twice: set[int] = set()
        for bucket in self.buckets:
            before = None
            for hashed in sorted(bucket):
                if hashed == before:
                    twice.add(hashed)
                before = hashed
            del bucket[:]
            if len(twice) > MOST:
                raise InvalidStatement(
                    f"More than {MOST} operation numbers stand twice: two exports in one file?",
                    next_step=EXPORT_AGAIN,
                )
        return frozenset(twice)


#: So many hashes are compared at a time, as objects; and so many wait for the disk.
_AT_A_TIME = 250_000
_HELD = 1 << 17


class LineHashes:
    """A hash for each of a file's lines: eight bytes, on the disk, so that memory does not grow with it."""

    def __init__(self) -> None:
        self._held = array("q")
        self._spilt: IO[bytes] | None = None
        self._count = 0

    def add(self, hashes: Iterable[int]) -> None:
        """Take many in."""
        before = len(self._held)
        self._held.extend(hashes)
        self._count += len(self._held) - before
        if len(self._held) >= _HELD:
            if self._spilt is None:
                self._spilt = TemporaryFile()  # noqa: SIM115 - closed with the reader that owns it
            self._held.tofile(self._spilt)
            del self._held[:]

    def has_repeated(self) -> bool:
        """Return whether any hash occurs twice, checked part by part to bound the memory."""
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
        """Return whether none of ``others`` is among the hashes."""
        return not others or all(others.isdisjoint(hashes) for hashes in self._all())

    def _all(self) -> Iterator[array[int]]:
        if self._spilt is not None:
            self._spilt.seek(0)
            while block := self._spilt.read(_HELD * self._held.itemsize):
                yield array("q", block)
        yield self._held


def repeated(hashes: Iterable[int]) -> frozenset[int]:
    """Those that stand there twice, of a few."""
    return frozenset(each for each, count in Counter(hashes).items() if count > 1)


class SeenLines:
    """Second pass: whether a line is one that came before. Asked of suspects alone."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, Hashable]] = {}

    def before(self, key: Hashable, line: int, content: Hashable) -> tuple[int, bool] | None:
        """The line on which the key stood first, and whether it said the same; ``None`` the first time."""
        first = self._seen.get(key)
        if first is None:
            self._seen[key] = (line, content)
            return None
        return first[0], first[1] == content
