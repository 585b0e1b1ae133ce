"""The command itself: in a real terminal, without one, and when the screen has a bug."""

from __future__ import annotations

import pytest

from procomp_pay.cli.desk import reads
from tests.cli.desk.conftest import OpenDesk
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine


def test_without_a_terminal(sqlite_clerk: CommandLine) -> None:
    assert "needs an interactive terminal" in sqlite_clerk.type("desk", code=2).err


@pytest.mark.parametrize("key", ["\x11", "\x03"])  # Ctrl-Q, Ctrl-C
def test_in_a_terminal(sqlite_clerk: CommandLine, key: str) -> None:
    with pseudo_terminal(sqlite_clerk, "desk", "--tournament", "Кубок Алматы") as screen:
        screen.wait_for("not paid: 4 of 4")
        screen.type(key)
        assert screen.ends() == 0


async def test_a_bug_ends_the_screen_without_showing_what_its_variables_held(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(*_given: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(reads, "open_payments", bug)
    with pytest.raises(ValueError, match="a bug"):
        async with open_desk() as desk:
            await desk.until(lambda: not desk.app.is_running, "it never ended")
    assert isinstance(desk.app.failure, ValueError)
    assert desk.app._exit_renderables == []
