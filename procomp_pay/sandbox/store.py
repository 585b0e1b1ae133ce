"""State on disk: one JSON file, replaced as a whole.

A kill at any moment leaves either the old file or the new one. `save` returns only when everything that
had changed before the call is on disk, and callers that wait together share one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 1


class StateError(Exception):
    """The state file cannot be read; the message says which file and why."""


class Store:
    """The state that `collect` returns, kept in `path`; without a path nothing is kept."""

    def __init__(self, path: Path | None, collect: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._collect = collect
        self._changes = 0
        self._saved = 0
        self._lock = asyncio.Lock()
        self._stir = asyncio.Event()

    def changed(self) -> None:
        """Note that something must be saved; the next `save` (or the background loop) writes it."""
        self._changes += 1
        self._stir.set()

    async def save(self) -> None:
        """Write what changed up to now and return when it is durable. Raises OSError."""
        wanted = self._changes
        if self._path is None or self._saved >= wanted:
            return
        async with self._lock:
            if self._saved >= wanted:
                return  # another waiter's write already held our changes
            version = self._changes
            document = json.dumps({"version": VERSION, **self._collect()}, separators=(",", ":"))
            await asyncio.to_thread(write_atomically, self._path, document)
            self._saved = version

    async def run(self) -> None:
        """Save changes that no request waits for (timers, deliveries), a little later and together."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            await asyncio.sleep(0.1)
            await self.save()


def read_state(path: Path | None) -> dict[str, Any]:
    """Return the state that the last run left, or an empty dict. Raises StateError for a file that is not
    ours.
    """
    if path is None or not path.exists():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"cannot read the sandbox state in {path}: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise StateError(f"{path} is not a sandbox state file of version {VERSION}")
    return document


def write_atomically(path: Path, document: str) -> None:
    """Replace `path` by `document`, readable by its owner alone, durable on return. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder for this
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
