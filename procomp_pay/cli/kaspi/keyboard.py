"""One key after the other, while the screen goes on: what a terminal's line editing cannot do."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENTER, BACK, ESCAPE = "\n", "\x7f", "\x1b"
#: Characters of one line; a longer paste is nobody's number.
LONGEST = 60


class Keys:
    """What was typed and not yet read."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, chunk: bytes) -> None:
        """Take what the terminal sent. Arrow keys and the like are not for us; Escape alone is."""
        text = self._decoder.decode(chunk)
        if text == ESCAPE:
            self._queue.put_nowait(ESCAPE)
            return
        if text.startswith(ESCAPE):
            return
        for c in text.replace("\r\n", ENTER).replace("\r", ENTER).replace("\b", BACK):
            if c in (ENTER, BACK) or c.isprintable() or c == "\N{NO-BREAK SPACE}":
                self._queue.put_nowait(c)

    async def next(self, seconds: float) -> str | None:
        """The next key; ``None`` where none was pressed in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._queue.get()
        return None


class Line:
    """The line that is being typed."""

    def __init__(self) -> None:
        self.text = ""

    def press(self, key: str) -> bool:
        """Edit; True where Enter ended the line."""
        if key == ENTER:
            return True
        if key == BACK:
            self.text = self.text[:-1]
        elif len(self.text) < LONGEST and key != ESCAPE:
            self.text += key
        return False

    def put(self, text: str) -> None:
        """Begin with this."""
        self.text = text[:LONGEST]

    def take(self) -> str:
        """The line without spaces around it; the next one begins."""
        taken, self.text = self.text.strip(), ""
        return taken


def can_read() -> bool:
    """Whether this terminal gives single keys (not on Windows)."""
    try:
        import termios  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Single keys of the terminal, without echo; everything is put back at the end."""
    import termios
    import tty

    stdin, loop, keys = sys.stdin.fileno(), asyncio.get_running_loop(), Keys()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)  # Ctrl-C stays what it is
    loop.add_reader(stdin, lambda: keys.feed(os.read(stdin, 1024)))
    try:
        yield keys
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
