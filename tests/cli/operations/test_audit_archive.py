"""``audit archive`` at the terminal."""

from pathlib import Path

import pytest

from tests.support.terminal import CommandLine


def test_archive_and_verify(clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    refused = clerk.type("audit", "archive", str(tmp_path), code=3)
    assert "procomp-pay audit seal" in refused.err
    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    clerk.ask("audit", "seal")
    assert "Nothing to archive" in clerk.type("audit", "archive", str(tmp_path)).out
    monkeypatch.setattr(
        "procomp_pay.services.bootstrap.utc_now", lambda: datetime.now(UTC) + timedelta(days=500)
    )
    made = clerk.ask("audit", "archive", str(tmp_path))
    assert (tmp_path / made["archive"]["file"]).is_file()
    assert "in archives not read" in clerk.type("audit", "verify").err
    got = clerk.ask("audit", "verify", "--archive", str(tmp_path))
    assert (got["sound"], got["archives_checked"]) == (True, 1)
    assert clerk.type("audit", "show", payment["payment_id"]).out
    clerk.type("audit", "archive", str(tmp_path), "--keep-days", "5", code=2)
    (tmp_path / made["archive"]["file"]).unlink()
    assert "cannot be read" in clerk.type("audit", "verify", "--archive", str(tmp_path), code=6).err
