"""Operation numbers that stand in a file twice, found in eight bytes for each line."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import compress

from procomp_pay.domain.errors import BadStatement
from procomp_pay.providers.statements.table import EXPORT_AGAIN

#: The buckets are 256; a hash's last bits choose one.
LAST_BUCKET = 255
#: So many may stand twice; a file with more is two exports in one.
MOST = 100_000


class Suspects:
    """First pass: which keys may stand twice. Hashes alone are kept, so a suspect need not be guilty."""

    def __init__(self) -> None:
        #: Whoever fills them puts a hash into the one that its last bits say.
        self.buckets = [array("q") for _ in range(LAST_BUCKET + 1)]

    def found(self) -> frozenset[int]:
        """The hashes that came more than once.

        :raises BadStatement: far too many.
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
                raise BadStatement(
                    f"More than {MOST} operation numbers stand twice: two exports in one file?",
                    next_step=EXPORT_AGAIN,
                )
        return frozenset(twice)


#: So many hashes are compared at a time, as objects.
_AT_A_TIME = 250_000


def has_repeated(hashes: array[int]) -> bool:
    """Whether any stands there twice; quick, and in the memory of a part of them, chosen by a byte."""
    first_bytes = hashes.tobytes()[:: hashes.itemsize]
    parts = min(len(hashes) // _AT_A_TIME + 1, LAST_BUCKET + 1)
    for part in range(parts):
        is_chosen = bytes(byte % parts == part for byte in range(LAST_BUCKET + 1))
        chosen = list(compress(hashes, first_bytes.translate(is_chosen)))
        if len(set(chosen)) < len(chosen):
            return True
    return False


def repeated(hashes: Iterable[int]) -> frozenset[int]:
    """Those that stand there twice, of a few."""
    return frozenset(each for each, count in Counter(hashes).items() if count > 1)


class Repeats:
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
