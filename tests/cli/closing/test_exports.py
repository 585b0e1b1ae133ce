"""The exports for accounting, as a step of ``close``."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.cli.framework import console
from tests.cli.closing.test_close import noon, pay, states, until  # noqa: F401 - a fixture
from tests.support.terminal import CommandLine


def files_of(closing: Any) -> dict[str, Path]:
    [record] = [step for step in closing["steps"] if step["step"] == "exports"]
    for each in record["facts"].get("files", ()):
        assert hashlib.sha256(Path(each["file"]).read_bytes()).hexdigest() == each["sha256"]
    return {each["what"]: Path(each["file"]) for each in record["facts"].get("files", ())}


def until_exported(clerk: CommandLine, *words: str) -> Any:
    """Close until the exports are reached."""
    return until(
        lambda closing: closing["open"][0] in ("exports", "signatures"),
        lambda: clerk.ask("close", *words, code=6),
    )


def test_the_exports_are_written_once_and_recorded(clerk: CommandLine) -> None:
    payment = pay(clerk, "p1", "apple_pay")
    closing = until_exported(clerk)
    assert closing["open"] == ["exports", "sheet", "seal", "signatures"]
    assert "--exports DIR" in clerk.type("close", code=6).err
    closing = clerk.ask("close", "--exports", "for 1c", code=6)
    assert closing["open"] == ["signatures"]
    [page] = (clerk.home / "closings").glob("*.html")
    assert "Nothing is open: to be signed" in page.read_text("utf-8")
    written = files_of(closing)
    assert set(written) == {"payments", "refunds", "payouts"}
    assert {path.stat().st_mode & 0o777 for path in written.values()} == {0o600}
    assert Path("for 1c").stat().st_mode & 0o777 == 0o700
    [row] = csv.DictReader(written["payments"].read_text("utf-8-sig").splitlines())
    assert (row["payment_id"], row["gross"]) == (payment["payment_id"], "50.00")
    before = {path: path.stat().st_ino for path in written.values()}
    again = clerk.ask("close", code=6)  # the folder is known
    assert states(again)["exports"] == "done"
    assert {path: path.stat().st_ino for path in written.values()} == before
    clerk.type("refund", payment["payment_id"], "--amount", "10", "--reason", "part", "--yes")
    changed = files_of(until_exported(clerk))
    assert [path.stat().st_ino == before[path] for path in changed.values()] == [True, False, True]
    [row] = csv.DictReader(changed["refunds"].read_text("utf-8-sig").splitlines())
    assert row["gross"] == "-10.00"
    assert clerk.ask("close", "--sign")["state"] == "closed"
    changed["refunds"].write_text("later")
    clerk.ask("close", "--exports", "other")  # a closed day stays as it was signed
    assert (changed["refunds"].read_text(), Path("other").exists()) == ("later", False)
    clerk.type("audit", "verify")


def test_the_exports_are_skipped_with_a_reason(sqlite_clerk: CommandLine) -> None:
    assert states(until_exported(sqlite_clerk))["exports"] == "open"
    skipped = sqlite_clerk.ask("close", "--skip", "exports", "--reason", "1C reads the report", code=6)
    assert (states(skipped)["exports"], skipped["open"]) == ("skipped", ["signatures"])
    assert states(sqlite_clerk.ask("close", code=6))["exports"] == "skipped"
    assert states(sqlite_clerk.ask("close", "--exports", "x", code=6))["exports"] == "done"


def test_a_tournament_has_no_payouts_to_export(sqlite_clerk: CommandLine) -> None:
    closing = sqlite_clerk.ask("close", "--tournament", "t1", "--exports", "x", code=6)
    assert {name: path.name.split("-", 4)[4] for name, path in files_of(closing).items()} == {
        "payments": "t1-payments.csv", "refunds": "t1-refunds.csv",
    }  # fmt: skip


def test_a_folder_that_cannot_be_made_is_refused(sqlite_clerk: CommandLine) -> None:
    Path("file").write_text("")
    assert "file cannot be written" in sqlite_clerk.type("close", "--exports", "file", code=3).err


def test_what_a_killed_process_of_this_number_left_stops_nothing(sqlite_clerk: CommandLine) -> None:
    """In a container the command has the same number each time."""
    written = files_of(sqlite_clerk.ask("close", "--exports", "x", code=6))["payments"]
    written.unlink()
    written.with_name(f".{written.name}.{os.getpid()}.part").write_text("half")
    assert files_of(sqlite_clerk.ask("close", code=6))["payments"] == written


def test_a_folder_that_is_gone_is_asked_for_again(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_clerk.ask("close", "--exports", "x/y", code=6)
    shutil.rmtree("x")
    Path("x").write_text("")
    assert sqlite_clerk.ask("close", code=6)["open"] == ["exports", "signatures"]
    answers = iter(["x/y", "~nobody-at-all/z", "x/z", "z"])
    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", lambda *_, **__: next(answers, ""))
        shown = sqlite_clerk.type("close", code=6)
    assert shown.err.count("cannot be written") > 3
    assert not list(answers)
    assert sqlite_clerk.ask("close", code=6)["open"] == ["signatures"]


def test_a_terminal_asks_for_the_folder(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(question: str, **_: Any) -> str:
        asked.append(question)
        return "~/1c" if "Folder" in question else ""

    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(Path.cwd()))
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", answer)
        sqlite_clerk.type("close", code=6)
    assert asked == ["Folder for the exports (Enter for none)"]
    assert len(list(Path("1c").iterdir())) == 3
    assert sqlite_clerk.ask("close", code=6)["open"] == ["signatures"]
