"""``participant edit``, ``remove``, ``merge`` and ``tournament edit``."""

from __future__ import annotations

import pytest

from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine


def test_registrations_are_corrected(clerk: CommandLine) -> None:
    edited = clerk.ask(
        "participant", "edit", "аида нурланова", "--name", "Аида Нұрланова", "--category", "-52 кг"
    )
    assert (edited["participant_id"], edited["full_name"], edited["category"]) == (
        "p1",
        "Аида Нұрланова",
        "-52 кг",
    )
    assert "changed" in clerk.type("participant", "edit", "p1", "--category", "-57 кг").out
    double = clerk.ask("participant", "add", "Кубок Алматы", "Тимур", "--category", "Kumite")
    merged = clerk.ask("participant", "merge", "p2", double["participant_id"], "--yes")
    assert (merged["participant_id"], merged["removed"]["participant_id"]) == ("p2", double["participant_id"])
    assert clerk.ask("participant", "remove", "p3", "--yes")["full_name"] == "Данияр"
    assert clerk.ask("participant", "list", "t1")["total"] == 3
    clerk.type("status", "p3", code=4)
    renamed = clerk.ask("tournament", "edit", "open", "--name", "Grand Open", "--starts", "2026-06-01")
    assert (renamed["name"], renamed["starts_at"]) == ("Grand Open", "2026-05-31T19:00:00Z")


def test_a_tournament_is_archived(clerk: CommandLine) -> None:
    assert clerk.ask("tournament", "archive", "t1")["archived"]
    assert [row["tournament_id"] for row in clerk.ask("tournament", "list")["items"]] == ["t2"]
    assert [row["tournament_id"] for row in clerk.ask("tournament", "list", "--archived")["items"]] == ["t1"]
    refused = clerk.type("initiate", "p1", "-m", "kaspi_qr", code=3)
    assert "procomp-pay tournament unarchive t1" in refused.err
    assert "back in use" in clerk.type("tournament", "unarchive", "t1").out
    assert clerk.ask("tournament", "list")["items"][0]["archived"] is False


def test_removal_is_asked_and_payments_forbid_it(sqlite_clerk: CommandLine) -> None:
    with pseudo_terminal(sqlite_clerk, "participant", "remove", "timur") as terminal:
        terminal.wait_for("Remove Timur (Kata, Кубок Алматы, p2)?")
        terminal.type("n\r")
        assert terminal.ends() == 3
    sqlite_clerk.ask("initiate", "p2", "-m", "kaspi_qr")
    refused = sqlite_clerk.type("participant", "remove", "p2", "--yes", code=3)
    assert "procomp-pay history p2" in refused.err
    assert "only a part" in sqlite_clerk.type("participant", "remove", "aida", "--yes", code=2).err
    sqlite_clerk.type("participant", "remove", "p1", code=2)
    sqlite_clerk.type("participant", "edit", "p1", code=2)
    sqlite_clerk.type("tournament", "edit", "t1", code=2)


def test_names_stay_whole_where_the_ids_do_not_fit(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Айгерим Сулейменова"
    sqlite_clerk.type("participant", "add", "Кубок Алматы", name, "--category", "-57 кг")
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    with pseudo_terminal(sqlite_clerk, "participant", "list", "--search", "айгерим", columns=80) as terminal:
        terminal.wait_for("не оплачено")
        assert name in terminal.output
