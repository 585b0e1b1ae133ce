"""``person`` at the terminal: two confirmations, and what is left to the platform."""

from tests.support.terminal import CommandLine, paid


def test_export_and_erase(sqlite_clerk: CommandLine) -> None:
    clerk = sqlite_clerk
    payment = paid(clerk)
    clerk.ask("maintain")
    exported = clerk.type("person", "export", "p1").json
    assert exported["registrations"][0]["full_name"] == "Аида Нурланова"
    assert "--confirm p1" in clerk.type("person", "erase", "p1", code=2).err
    assert "nothing was erased" in clerk.type("person", "erase", "p1", "--confirm", "p2", code=3).err
    shown = clerk.type("person", "erase", "p1", "--dry-run")
    assert "fullName of Participant p1" in shown.err
    assert clerk.type("person", "export", "p1").json["registrations"][0]["full_name"] == "Аида Нурланова"
    assert clerk.ask("person", "erase", "p1", "--confirm", "p1", "--with-platform-rows")["user_id"] is None
    assert clerk.ask("status", "p1")["status"] == "COMPLETED"
    assert "Нурланова" not in clerk.type("history", "p1").out
    assert clerk.ask("audit", "verify")["sound"] is True
    assert "erased the person's names" in clerk.type("audit", "show", payment["payment_id"]).out
    clerk.type("person", "erase", "nobody", code=4)
