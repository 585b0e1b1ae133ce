"""Pictures of the screens as text, compared with those in ``screens/``.

``UPDATE_SCREENS=1`` writes them anew: look at each of them before it is committed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cli.desk.conftest import Desk, OpenDesk

SCREENS = Path(__file__).parent / "screens"
SIZES = [(80, 24), (120, 40)]


def picture(desk: Desk) -> str:
    """Return the screen without what differs from run to run: times, numbers, codes, the QR itself."""
    lines = [line.replace("\xa0", " ") for line in desk.lines]
    for code in desk.app.screen.query("#code").filter(".-qr"):
        x, y, width, height = code.region
        for number in range(y, y + height if code.display else y):
            lines[number] = lines[number][:x].ljust(x) + "▒" * width + lines[number][x + width :]
    masked = [re.sub(r"\d?\d:\d\d", "TI:ME", line) for line in lines]
    masked = [re.sub(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", "CODE-CODE", line) for line in masked]
    return "\n".join(re.sub(r"\d{11}", "RECEIPT-NO.", line).rstrip() for line in masked).rstrip() + "\n"


async def compare(desk: Desk, name: str, size: tuple[int, int]) -> None:
    """Wait until the screen is as its picture."""
    file = SCREENS / f"{name}-{size[0]}x{size[1]}.txt"
    if "UPDATE_SCREENS" in os.environ:
        await desk.pilot.pause(2)
        file.write_text(picture(desk), "utf-8")
    expected = file.read_text("utf-8")
    await desk.until(lambda: picture(desk) == expected, f"it should be as {file.name}")


@pytest.mark.parametrize("size", SIZES)
async def test_pictures(open_desk: OpenDesk, size: tuple[int, int]) -> None:
    async with open_desk(size) as desk:
        await desk.sees("not paid: 4 of 4")
        await desk.type("а")
        await desk.sees("Found: 2")
        await compare(desk, "found", size)
        await desk.press("enter", "k")
        await desk.sees("left")
        await compare(desk, "qr", size)
        await desk.pay((await desk.payments("p1"))[0])
        await desk.sees("✓ PAID")
        await compare(desk, "paid", size)
        await desk.press("enter")
        await desk.sees("not paid: 3 of 4")
        await desk.type("timur")
        await desk.press("enter", "a")
        await desk.sees("left")
        await desk.press("escape")
        await desk.sees("waiting: 1", "0 min")
        await compare(desk, "waiting", size)
