"""A TCP proxy before PostgreSQL that can go silent: it swallows every byte and closes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class SilentProxy:
    """Passes on what comes, in both directions, until it is made silent.

    :param target: a port of this machine, or PostgreSQL's socket.
    """

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    def go_silent(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def lead_to(self, target: int) -> None:
        """End all connections; the next ones go to another port."""
        self._target = target
        for task in self._tasks:
            task.cancel()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SilentProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if isinstance(self._target, Path):
                there, to_there = await asyncio.open_unix_connection(str(self._target))
            else:
                there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # nothing listens there just now
            writer.close()
            return
        for source, sink in ((reader, to_there), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self._speaks.is_set():
                    await self._speaks.wait()
                    break  # what was swallowed is lost: the connection is of no more use
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side is gone, and the other one learns it
        finally:
            sink.close()
            with contextlib.suppress(ConnectionError):
                await sink.wait_closed()
