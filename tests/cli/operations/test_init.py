"""``init`` writes what ``serve`` and systemd take, checked as by ``doctor``, and never over anything."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from procomp_pay.config import Settings
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.services.maintenance.installation import TAKEN
from procomp_pay.storage.encryption.keyring import new_key
from tests.support.processes import run_to_end
from tests.support.secret_watch import register_secret
from tests.support.terminal import CommandLine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the files; what ``init`` sets in the environment is taken back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "installed").mkdir()
    return tmp_path / "installed"


def values(folder: Path) -> dict[str, Any]:
    return dict(dotenv_values(folder / "procomp-pay.env"))


def test_the_files_are_complete_private_and_never_overwritten(
    postgres_clerk: CommandLine, folder: Path
) -> None:
    os.environ["PUBLIC_BASE_URL"] = "https://pay.procomp.test"
    out = postgres_clerk.type("init", str(folder), "--no-input", "--user", "payer", "--port", "9090").out
    env = folder / "procomp-pay.env"
    assert env.stat().st_mode & 0o777 == 0o600
    settings = values(folder)
    for name in ("JWT_SECRET", "METRICS_TOKEN", "ENCRYPTION_KEYS"):
        register_secret(settings[name], name)
        assert settings[name] not in out
    assert settings["DATABASE_URL"] == postgres_clerk.url
    assert set(settings) <= {name.upper() for name in Settings.model_fields}
    shell = run_to_end(["sh", "-c", f'. {shlex.quote(str(env))}; printf %s "$JWT_SECRET"'], check=True)
    assert shell.stdout == settings["JWT_SECRET"]
    unit = (folder / "procomp-pay.service").read_text("utf-8")
    assert f"EnvironmentFile={env}" in unit
    assert "User=payer" in unit
    assert re.search(r"^ExecStart=/\S+/procomp-pay serve --port 9090$", unit, re.M)
    assert "pay.procomp.test {" in (folder / "Caddyfile").read_text("utf-8")
    assert "reverse_proxy 127.0.0.1:9090" in (folder / "Caddyfile").read_text("utf-8")
    assert "https://pay.procomp.test/api/v1/payments/webhooks/stripe" in out
    assert set(re.findall(r"^  ((?:payment_intent|checkout|charge|refund)\.\S+)$", out, re.M)) == set(READERS)
    before = env.read_bytes()
    assert "is not overwritten" in postgres_clerk.type("init", str(folder), "--no-input", code=3).err
    assert env.read_bytes() == before
    commands = {
        line.split("bin/procomp-pay ")[1]
        for unit in folder.glob("*.service")
        for line in unit.read_text("utf-8").splitlines()
        if "ExecStart" in line
    }
    assert {command.split()[0] for command in commands} == {"serve", "close", "reconcile", "audit"}


def test_a_dry_run_writes_nothing(sqlite_clerk: CommandLine, folder: Path) -> None:
    got = sqlite_clerk.ask("init", str(folder), "--proxy", "nginx", "--dry-run")
    assert got["dry_run"] is True
    assert str(folder / "nginx.conf") in got["files"]
    assert list(folder.iterdir()) == []
    assert (
        "proxy_pass http://127.0.0.1:8080"
        in sqlite_clerk.type("init", str(folder), "--proxy", "nginx", "--dry-run").out
    )


def test_what_serve_would_refuse_is_not_written(sqlite_clerk: CommandLine, folder: Path) -> None:
    os.environ["RATE_LIMIT_READS"] = "often"
    refused = sqlite_clerk.type("init", str(folder), "--no-input", code=7)
    assert "nothing was written" in refused.err
    assert list(folder.iterdir()) == []
    assert "mkdir -p" in sqlite_clerk.type("init", str(folder / "missing"), "--no-input", code=7).err


def test_stripes_endpoint_is_made_once(sqlite_clerk: CommandLine, folder: Path) -> None:
    info = sqlite_clerk.providers.sandbox.info()
    os.environ |= {
        "PUBLIC_BASE_URL": "https://pay.procomp.test",
        "STRIPE_SECRET_KEY": info["stripe_secret_key"],
        "STRIPE_API_BASE": sqlite_clerk.providers.url,
    }
    out = sqlite_clerk.type("init", str(folder), "--no-input", "--stripe-endpoint").out
    secret = values(folder)["STRIPE_WEBHOOK_SECRET"]
    register_secret(secret, "webhook secret")
    assert secret.startswith("whsec_")
    assert secret not in out
    other = folder / "other"
    other.mkdir()
    again = sqlite_clerk.type("init", str(other), "--no-input", "--stripe-endpoint", code=3)
    assert "already" in again.err


@pytest.mark.parametrize("missing", ["PUBLIC_BASE_URL", "STRIPE_SECRET_KEY"])
@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_what_stripes_endpoint_needs_is_checked_before_anything_is_written(
    sqlite_clerk: CommandLine, folder: Path, missing: str, how: tuple[str, ...]
) -> None:
    os.environ |= {
        "PUBLIC_BASE_URL": "https://pay.procomp.test",
        "STRIPE_SECRET_KEY": sqlite_clerk.providers.sandbox.info()["stripe_secret_key"],
        "STRIPE_API_BASE": sqlite_clerk.providers.url,
    }
    del os.environ[missing]
    refused = sqlite_clerk.type("init", str(folder), "--no-input", "--stripe-endpoint", *how, code=3)
    assert "needs STRIPE_SECRET_KEY and PUBLIC_BASE_URL" in refused.err
    assert list(folder.iterdir()) == []


def test_without_stripes_endpoint_nothing_stays_and_init_can_be_repeated(
    sqlite_clerk: CommandLine, folder: Path
) -> None:
    os.environ |= {
        "PUBLIC_BASE_URL": "https://later.procomp.test",
        "STRIPE_SECRET_KEY": sqlite_clerk.providers.sandbox.info()["stripe_secret_key"],
        "STRIPE_API_BASE": sqlite_clerk.providers.url,
    }
    sqlite_clerk.providers.fault(path="/v1/webhook_endpoints", method="POST", kind="status", status=400)
    sqlite_clerk.type("init", str(folder), "--no-input", "--stripe-endpoint", code=3)
    assert list(folder.iterdir()) == []
    sqlite_clerk.providers.calm()
    sqlite_clerk.type("init", str(folder), "--no-input", "--stripe-endpoint")
    register_secret(values(folder)["STRIPE_WEBHOOK_SECRET"], "webhook secret")


def test_no_new_keys_for_a_database_that_has_payments(clerk: CommandLine, folder: Path) -> None:
    os.environ["DATABASE_URL"] = clerk.url
    os.environ["ENCRYPTION_KEYS"] = keys = new_key()
    register_secret(keys, "encryption key")
    clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    del os.environ["ENCRYPTION_KEYS"]
    refused = clerk.type("init", str(folder), "--no-input", code=7)
    assert "has payments already" in refused.err
    assert "set ENCRYPTION_KEYS" in refused.err
    assert list(folder.iterdir()) == []
    os.environ["ENCRYPTION_KEYS"] = keys
    clerk.type("init", str(folder), "--no-input")
    assert values(folder)["ENCRYPTION_KEYS"] == keys


def test_systemd_accepts_the_units(postgres_clerk: CommandLine, folder: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TESTED: systemd-analyze is not installed")
    postgres_clerk.type("init", str(folder), "--no-input")
    units = sorted(str(path) for path in folder.glob("*.[st][ei][rm]*"))
    assert len(units) == 7
    checked = run_to_end(["systemd-analyze", "verify", *units])
    ours = [line for line in (checked.stdout + checked.stderr).splitlines() if "procomp-pay" in line]
    assert (checked.returncode, ours) == (0, [])


def test_the_unit_closes_the_day_of_a_system_user_without_a_home(
    postgres_clerk: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_clerk.type("init", str(folder), "--no-input")
    unit = (folder / "procomp-pay-close.service").read_text("utf-8")
    [command] = re.findall(r"^ExecStart=\S+/procomp-pay (.+)$", unit, re.M)
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.delenv("PROCOMP_HOME", raising=False)
    state = folder / "state"
    (state / "procomp-pay").mkdir(parents=True)
    postgres_clerk.type(*shlex.split(command.replace("%S", str(state))), code=6)
    for made in ("exports", "closings"):
        assert list((state / "procomp-pay" / made).iterdir()), made


def test_settings_of_init_exist_and_the_docs_name_all_events() -> None:
    assert set(TAKEN) <= {name.upper() for name in Settings.model_fields}
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    section = page.partition("## Stripe's webhook")[2].partition("\n## ")[0]
    family, named = "", set()
    for name in re.findall(r"`([a-z_.]+)`", section):
        family = name.rpartition(".")[0] if not name.startswith(".") else family
        named.add(name if not name.startswith(".") else family + name)
    assert named == set(READERS)
