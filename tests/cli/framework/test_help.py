"""Help pages and the version."""

from __future__ import annotations

import pytest

from tests.support.terminal import CommandLine


@pytest.mark.parametrize(
    "words", [(), ("refund",), ("participant",), ("participant", "add"), ("db", "upgrade")]
)
def test_help_is_the_same_in_three_ways(sqlite_clerk: CommandLine, words: tuple[str, ...]) -> None:
    page = sqlite_clerk.type(*words, "--help").out
    assert page.startswith("Usage: procomp-pay")
    assert sqlite_clerk.type(*words, "-h").out == page
    assert sqlite_clerk.type("help", *words).out == page


def test_help_of_no_command_is_wrong_usage(sqlite_clerk: CommandLine) -> None:
    assert "procomp-pay has no command 'refnd'" in sqlite_clerk.type("help", "refnd", code=2).err
    assert "participant has no command 'x'" in sqlite_clerk.type("help", "participant", "x", code=2).err
    assert "refund has no command 'x'" in sqlite_clerk.type("help", "refund", "x", code=2).err


def test_version_is_a_command_too(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.type("version").out == sqlite_clerk.type("--version").out
