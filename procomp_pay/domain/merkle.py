"""Build Merkle trees as in RFC 6962 (section 2.1), leaf by leaf, in O(log n) memory."""

from __future__ import annotations

import hashlib

#: Prefixes that keep a leaf from being taken for a node.
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Return the digest of a leaf."""
    return hashlib.sha256(_LEAF + data).digest()


class Merkle:
    """A tree that grows to the right; only the roots of its complete subtrees are kept."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Add a leaf.

        :param leaf: its digest, from :func:`leaf_hash`.
        """
        size, digest = 1, leaf
        while self._peaks and self._peaks[-1][0] == size:
            digest = _node(self._peaks.pop()[1], digest)
            size *= 2
        self._peaks.append((size, digest))

    def root(self) -> str:
        """Return the root in hexadecimal digits; of an empty tree, the digest of no data."""
        if not self._peaks:
            return hashlib.sha256().hexdigest()
        digest = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            digest = _node(left, digest)
        return digest.hex()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
