"""``--json`` is for programs: the same in every language."""

from __future__ import annotations

import re

import pytest

from tests.support.terminal import CommandLine

READING = (
    ("status", "p1"), ("history", "p1"), ("list",), ("verify-kaspi",), ("participant", "list"),
    ("tournament", "list"), ("discrepancies", "list"), ("report",), ("receipt", "p2"),
    ("report", "closing", "--tournament", "t1"), ("payouts", "list"), ("audit", "show", "p2"),
    ("events", "list"), ("outbox", "list"),
)  # fmt: skip


def test_json_is_the_same_in_every_language(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    sqlite_clerk.pay(sqlite_clerk.ask("initiate", "p2", "--method", "kaspi_qr"), "pay")
    sqlite_clerk.ask("status", "p2", "--refresh")
    cancelled = sqlite_clerk.ask("initiate", "p3", "--method", "kaspi_qr")["payment_id"]
    sqlite_clerk.ask("cancel", cancelled, "--yes")
    for words in READING:
        told = set()
        for language in ("en", "ru", "kk"):
            monkeypatch.setenv("PROCOMP_LANGUAGE", language)
            document = sqlite_clerk.type(*words, "--json").out
            told.add(re.sub(r'"(made_at|as_of|minutes)": .*', "", document))
        assert len(told) == 1, (words, told)
