"""Commands with arguments that nobody means: each is refused in plain words or done, none meets a bug."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from tests.support.hostile import some, texts
from tests.support.secret_watch import no_secret_in
from tests.support.terminal import CommandLine, paid

#: They run until they are stopped, or ask for a terminal first.
_OTHERS = {"serve", "sandbox", "demo", "desk", "init", "help", "kaspi queue"}
#: Neither a NUL, which no operating system passes on, nor a path out of the test's own directory.
_words = texts.filter(lambda text: not {"\0", "/", "~"} & set(text))


def _leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if " ".join(words) in _OTHERS:
        return
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield words, command
        return
    for name in subcommands:
        yield from _leaves(command.get_command(None, name), (*words, name))


_PLAUSIBLE = (
    "p1", "p9", "t1", "Аида", "KZT", "24000", "50.00", "2026-01-15", "05.2026", "today", "kaspi", "stripe",
    "apple_pay", "kaspi_qr", "list.csv", "folder", "-", "--", "1", "0", "why", "refund", "COMPLETED",
    "PENDING", "admin", "desk", "aigerim", "+77010000000", "a@example.kz", "7:100,3:50", "csv", "+1d", "all",
)  # fmt: skip


def _lines(payment_id: str) -> st.SearchStrategy[list[str]]:
    """Return command lines: few options, and often of something that they could be."""
    real = st.sampled_from([*_PLAUSIBLE, payment_id, payment_id[:8]])
    value = st.one_of(real, _words)

    def argument(each: Any) -> st.SearchStrategy[list[str]]:
        if each.param_type_name == "argument":
            return st.lists(value, min_size=1, max_size=1 if each.nargs == 1 else 3)
        option = max(each.opts, key=len)
        if getattr(each, "is_flag", False):
            return st.just([option])
        return st.one_of(value.map(lambda text: [option, text]), value.map(lambda text: [f"{option}={text}"]))

    def line(leaf: tuple[tuple[str, ...], Any]) -> st.SearchStrategy[list[str]]:
        words, command = leaf
        known = [each for each in command.params if each.name != "help"]
        options = [each for each in known if each.param_type_name != "argument"]
        required = [each for each in known if each.required or each not in options]
        more = st.lists(st.sampled_from(options), max_size=3) if options else st.just([])
        return (
            more.flatmap(lambda some_of: st.tuples(*map(argument, [*required, *some_of])))
            .map(lambda drawn: [*words, *(word for part in drawn for word in part)])
        )  # fmt: skip

    return st.sampled_from(list(_leaves(get_command(app)))).flatmap(line)


def test_no_command_line_meets_a_bug(sqlite_clerk: CommandLine) -> None:
    payment_id = paid(sqlite_clerk)["payment_id"]
    (sqlite_clerk.home.parent / "folder").mkdir()
    (sqlite_clerk.home.parent / "list.csv").write_text("name\nNew Kid\n")

    ends: Counter[int] = Counter()

    @some
    @given(_lines(payment_id))
    def run(line: list[str]) -> None:
        result = CliRunner().invoke(app, line)
        ends[result.exit_code] += 1
        output = result.stdout + result.stderr
        assert "Traceback" not in output
        assert "This is a bug" not in output, output
        assert result.exit_code in range(8), (result.exit_code, output)
        no_secret_in(output, " ".join(line))

    run()
    print(ends)
    assert ends[0] + ends[3] + ends[4] > ends[2] // 4, "many get further than the parser"
