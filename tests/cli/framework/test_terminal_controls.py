"""What is printed acts on no terminal, whatever a name has in it."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from rich.table import Table

from procomp_pay.cli.framework import console
from tests.support.terminal import CommandLine

#: Escapes of seven and eight bits, a backspace, and marks that turn the text around.
_NAME = "Асан\x1b]0;owned\x07\x9b2J\x08\x7f\u202e\u2066"
_ACTS = [c for c in _NAME if not c.isprintable()]


def _acting(text: str) -> list[str]:
    return [c for c in text if c in _ACTS]


def test_lines_and_documents_only_show(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_lines([_NAME])
    console.print_long([_NAME])
    console.say(_NAME)
    console.print_json({"name": _NAME})
    shown = capsys.readouterr()
    assert _acting(shown.out + shown.err) == []
    document = shown.out.partition("{")[2].partition("}")[0]
    assert json.loads(f"{{{document}}}") == {"name": _NAME}


def test_a_name_of_the_platform(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("MAIL_FROM", "pay@example.com")
    sqlite_clerk.change(f"""UPDATE "Participant" SET "fullName" = '{_NAME}'""")
    for command in (["remind", "t1", "--dry-run"], ["participant", "list", "--json"]):
        shown = sqlite_clerk.type(*command)
        assert "Асан" in shown.out
        assert _acting(shown.out + shown.err) == []


def test_a_table_shown_as_its_rows_has_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("Name", "Note")
    table.add_row(console.safe("[red]Aida[/] :smile:"), "longer than the terminal".replace(" ", "-"))
    console.print_table(Console(width=20, force_terminal=True), [table])
    assert "[red]Aida[/] :smile:" in capsys.readouterr().out
