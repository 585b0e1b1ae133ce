"""Find the names that may occur twice among millions, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress

#: Bytes of the table. Of a million names about 3 % collide with another one.
SIZE = 1 << 24
#: With more names than this, none are kept, and the database checks all lines.
MOST = 100_000


class Repeats:
    """Names that may occur more than once.

    The table has a byte for each hash of a name. If it is set already, the name *may* be a second line of the
    same payment, which the database then checks. That is ten times faster than grouping a million lines.
    """

    def __init__(self, size: int = SIZE) -> None:
        self.mask = size - 1
        self.seen = bytearray(size)
        #: Every name that occurred twice, and some that did not.
        self._repeated: set[str] = set()
        self._are_too_many = False

    @property
    def repeated(self) -> set[str] | None:
        """Return the names that may be repeated; ``None`` if there are too many."""
        return None if self._are_too_many else self._repeated

    def again(self, name: str) -> None:
        """Add a name whose slot in the table was set already."""
        self._keep([name])

    def note_all(self, names: Sequence[str]) -> None:
        """Take names in, with as few steps for each as can be: there may be millions."""
        seen = self.seen
        places = list(map(self.mask.__and__, map(hash, names)))
        before = list(map(seen.__getitem__, places))
        if 1 in before:
            self._keep(compress(names, before))
        if len(set(places)) < len(places):
            twice = {place for place, count in Counter(places).items() if count > 1}
            self._keep(compress(names, map(twice.__contains__, places)))
        for place in places:
            seen[place] = 1

    def _keep(self, names: Iterable[str]) -> None:
        if not self._are_too_many:
            self._repeated.update(names)
            if len(self._repeated) > MOST:
                self._repeated, self._are_too_many = set(), True
