"""``doctor`` refuses what ``serve`` would refuse, and nothing that works."""

import json

import pytest

from procomp_pay.config import Settings
from tests.support.terminal import CommandLine

STRIPE = ("STRIPE_SECRET_KEY", "STRIPE_API_BASE", "STRIPE_WEBHOOK_SECRET")
KASPI = ("KASPI_API_KEY", "KASPI_API_URL", "KASPI_DEVICE_TOKEN")


@pytest.mark.parametrize("only", [STRIPE, KASPI], ids=["stripe", "kaspi"])
def test_one_provider_is_enough(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...]
) -> None:
    info = json.loads((sqlite_clerk.home / "sandbox.json").read_text("utf-8"))
    values = (
        (info["stripe_secret_key"], info["url"], info["webhook_secret"])
        if only is STRIPE
        else (info["kaspi_api_key"], info["url"], info["kaspi_device_token"])
    )
    for name, value in zip(only, values, strict=True):
        monkeypatch.setenv(name, value)
    (sqlite_clerk.home / "sandbox.json").unlink()
    output = sqlite_clerk.type("doctor").out
    assert "only this computer reaches it at http://127.0.0.1:" in " ".join(output.split())
    other = "Kaspi" if only is STRIPE else "Stripe"
    assert f"✓ {other:<14} not configured" in output
    for name in only:
        monkeypatch.delenv(name)
    assert "✗ Stripe" in sqlite_clerk.type("doctor", code=7).out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOG_LEVEL", "loud", "use DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("RATE_LIMIT_OPEN", "many", "write it as 600/minute"),
        ("TRUSTED_PROXIES", "nginx", "addresses and networks"),
        ("CORS_ORIGINS", "*", "* is not allowed"),
        ("METRICS_TOKEN", "short", "it could be guessed"),
        ("REPORT_TIMEZONE", "Mars", "is not a time zone"),
        ("PUBLIC_BASE_URL", "pay.procomp.kz", "PUBLIC_BASE_URL (not a web address)"),
        ("KASPI_SCHEME", "baisc", "'basic', 'standard', 'enhanced' or 'gateway'"),
    ],
)
def test_a_setting_that_is_refused_later_is_refused_here(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    output = " ".join(sqlite_clerk.type("doctor", code=7).out.split())
    assert "✗" in output
    assert name in output
    assert said in output


def test_a_misspelt_setting_is_named(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABSE_URL", "postgresql://pay@db/procomp")
    (sqlite_clerk.home.parent / ".env").write_text("stripe_secretkey=sk\nEDITOR=vi\n", "utf-8")
    output = sqlite_clerk.type("doctor").out
    assert "DATABSE_URL is not a setting and has no effect" in output
    assert "write STRIPE_SECRET_KEY" in output
    assert "EDITOR" not in output


def test_beside_sqlite_the_key_of_tokens_is_derived(sqlite_clerk: CommandLine) -> None:
    assert "the key file, HS256" in sqlite_clerk.type("doctor").out


def test_every_setting_is_explained(sqlite_clerk: CommandLine) -> None:
    for name in Settings.model_fields:
        document = sqlite_clerk.ask("doctor", "--explain", name)
        assert document["setting"] == name.upper()
        assert document["default"]
        assert document["values"]


def test_an_unknown_setting_has_its_nearest_names(sqlite_clerk: CommandLine) -> None:
    assert "DATABASE_URL" in sqlite_clerk.type("doctor", "--explain", "DATABSE_URL", code=4).err
