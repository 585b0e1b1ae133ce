"""Find the names that may occur twice among millions, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress

#: Bytes of the table. Of a million names about three in a hundred look like another one.
SIZE = 1 << 24
#: More names than this are not kept: the database then checks them all.
MOST = 100_000


class Repeats:
    """Names that may have come before.

    A byte for each hash of a name: one that is set already *may* be a second line of the same payment. The
    database then looks whether it is. That is ten times cheaper than to group a million lines.
    """

    def __init__(self, size: int = SIZE) -> None:
        self.mask = size - 1
        self.seen = bytearray(size)
        #: Every name that came twice, and some that did not.
        self._repeated: set[str] = set()
        self._are_too_many = False

    @property
    def repeated(self) -> set[str] | None:
        """``None``: too many to be named."""
        return None if self._are_too_many else self._repeated

    def again(self, name: str) -> None:
        """A name whose place was taken."""
        self._keep([name])

    def note_all(self, names: Sequence[str]) -> None:
        """Take names in, with as few steps for each as can be: there may be millions."""
        on_progress = self.seen
        places = list(map(self.mask.__and__, map(hash, names)))
        before = list(map(on_progress.__getitem__, places))
        if 1 in before:
            self._keep(compress(names, before))
        if len(set(places)) < len(places):
            twice = {place for place, count in Counter(places).items() if count > 1}
            self._keep(compress(names, map(twice.__contains__, places)))
        for place in places:
            on_progress[place] = 1

    def _keep(self, names: Iterable[str]) -> None:
        if not self._are_too_many:
            self._repeated.update(names)
            if len(self._repeated) > MOST:
                self._repeated, self._are_too_many = set(), True
