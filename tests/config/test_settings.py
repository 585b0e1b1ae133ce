"""Settings: sources, invalid values, and hidden secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from procomp_pay.config import ProviderMode, load_settings, sandbox_run_file
from procomp_pay.domain.errors import ConfigurationError

RUN_FILE = {
    "url": "http://127.0.0.1:8600",
    "stripe_secret_key": "sk_test_run",
    "webhook_secret": "whsec_run",
    "kaspi_api_key": "key",
    "kaspi_device_token": "device",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE", "KASPI_API_KEY", "KASPI_API_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROCOMP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_are_sqlite_and_no_provider(home: Path) -> None:
    settings = load_settings()
    assert settings.url == f"sqlite:///{home / 'procomp-pay.sqlite3'}"
    assert (settings.stripe_mode, settings.kaspi_mode) == (ProviderMode.OFF, ProviderMode.OFF)


def test_a_running_sandbox_is_used(home: Path) -> None:
    sandbox_run_file(load_settings()).write_text(json.dumps(RUN_FILE))
    settings = load_settings()
    assert (settings.stripe_mode, settings.kaspi_mode) == (ProviderMode.SANDBOX, ProviderMode.SANDBOX)
    assert settings.webhook_secrets == ["whsec_run"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": "http://127.0.0.1:1"}', "\x00"])
def test_an_invalid_run_file_is_ignored(home: Path, text: str) -> None:
    sandbox_run_file(load_settings()).write_text(text)
    assert load_settings().stripe_mode is ProviderMode.OFF


def test_a_live_key_with_a_local_address_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_run_file(load_settings()).write_text(json.dumps(RUN_FILE))
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_" + "x" * 24)
    settings = load_settings()
    assert (settings.stripe_mode, settings.kaspi_mode) == (ProviderMode.LIVE, ProviderMode.OFF)
    monkeypatch.setenv("STRIPE_API_BASE", "http://127.0.0.1:8600")
    with pytest.raises(ConfigurationError, match="live keys are not used with a sandbox"):
        load_settings()


def test_precedence_of_environment_dotenv_and_defaults(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("LOG_LEVEL=DEBUG\nPUBLIC_BASE_URL=https://pay.example.com/\n")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    settings = load_settings()
    assert (settings.log_level, settings.base_url) == ("ERROR", "https://pay.example.com")


def test_an_invalid_value_is_not_shown_in_the_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KASPI_TRADE_POINT_ID", "s3cret-by-mistake")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "KASPI_TRADE_POINT_ID" in caught.value.message
    assert "s3cret" not in str(caught.value)


def test_secrets_do_not_show(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_hidden")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hidden@127.0.0.1/db")
    assert "hidden" not in repr(load_settings())


def test_several_webhook_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_new, whsec_old,")
    assert load_settings().webhook_secrets == ["whsec_new", "whsec_old"]


@pytest.mark.parametrize("name", ["KASPI_API_URL", "STRIPE_API_BASE"])
@pytest.mark.parametrize("host", ["qrapi-cert-ip.kaspi.kz", "192.168.1.10:8080", "127.0.0.1.example.com"])
def test_a_provider_is_not_reached_without_encryption(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, f"http://{host}")
    with pytest.raises(ConfigurationError, match=f"{name} begins with http://") as error:
        load_settings(_env_file=None)
    assert error.value.exit_code == 7
    monkeypatch.setenv(name, "http://127.0.0.1:8080")
    assert load_settings(_env_file=None)
