"""The log: one line for each event, no secrets, no forged lines."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from procomp_pay.config import LogFormat, Settings
from procomp_pay.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ProviderUnavailable,
    fault_of,
)
from procomp_pay.server.http.errors import from_domain
from procomp_pay.server.observability import logs
from procomp_pay.storage.encryption.keyring import new_key
from tests.support.http_requests import bearer, rename_table
from tests.support.server import Serve

log = logging.getLogger("procomp_pay.test")
KASPI_KEY = "kaspi-key-without-a-shape"
PASSWORD = "correct-horse-battery"
KEY = new_key()


class Log:
    """Return the written lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written() -> Iterator[Log]:
    """Restore the root logger after the test."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    yield Log()
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)
    logs.start_request()


def settings(**more: Any) -> Settings:
    return Settings(
        _env_file=None,
        kaspi_api_key=SecretStr(KASPI_KEY),
        database_url=SecretStr(f"postgresql://pay:{PASSWORD}@db/x"),
        encryption_keys=SecretStr(f"{KEY}, {new_key()}"),
        **more,
    )


def begin(written: Log, **more: Any) -> None:
    logs.set_up(settings(**more), written.stream)


def test_json_by_default_without_a_terminal(written: Log) -> None:
    begin(written)
    token = logs.REQUEST_ID.set("req-1")
    logs.start_request(route="/status/{participant_id}", payment_id="c1", participant_id=None)
    log.info("done %d", 7, extra={"status": 200})
    logs.REQUEST_ID.reset(token)
    [line] = written.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "done 7", "level": "info", "logger": "procomp_pay.test", "request_id": "req-1",
        "route": "/status/{participant_id}", "payment_id": "c1", "status": 200,
    }  # fmt: skip


def test_console_lines(written: Log) -> None:
    begin(written, log_format=LogFormat.CONSOLE)
    log.warning("slow", extra={"payment_id": "c1"})
    assert "slow" in written.text
    assert "payment_id=c1" in written.text
    assert "\x1b" not in written.text, "no colours where there is no terminal"


@pytest.mark.parametrize("form", LogFormat)
def test_text_from_outside_cannot_forge_a_log_line(written: Log, form: LogFormat) -> None:
    begin(written, log_format=form)
    evil = 'x\n2026-01-01 [info] paid\r\x1b[2J\u2028\x85{"event": "paid"}'
    log.info("said %s", evil, extra={"event_id": evil})
    log.error("failed", exc_info=ValueError(evil))
    begun = [line for line in written.text.split("\n") if line and not line.startswith("    ")]
    assert len(begun) == 2
    assert not any(c in written.text for c in "\r\x1b\u2028\x85")


@pytest.mark.parametrize("form", LogFormat)
def test_configured_secrets_are_redacted(written: Log, form: LogFormat) -> None:
    begin(written, log_format=form)

    def fail(hidden: str) -> None:
        local = hidden * 2
        raise RuntimeError(f"refused: {hidden} {len(local)}")

    for value in (KASPI_KEY, PASSWORD, KEY):
        log.error("with %s", value, extra={"payment_id": value})
        try:
            fail(value)
        except RuntimeError:
            log.exception("a bug")
    log.error("headers %s", {"Api-Key": "123", "Device-Token": "456789"})
    for value in (KASPI_KEY, PASSWORD, KEY, "456789"):
        assert value not in written.text
    assert "Traceback" in written.text


def test_libraries_warnings_and_threads_use_the_same_format(written: Log) -> None:
    begin(written, log_level="DEBUG")
    logging.getLogger("sqlalchemy.engine").info("SELECT %s", KASPI_KEY)
    logging.getLogger("some.library").debug("sent %s", KASPI_KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"old {KASPI_KEY}", stacklevel=1)

    def fail() -> None:
        raise RuntimeError(KASPI_KEY)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    lines = written.lines()
    assert [line["logger"] for line in lines] == [
        "some.library",
        "py.warnings",
        "procomp_pay.server.observability.logs",
    ]
    assert KASPI_KEY not in written.text


def test_an_unknown_log_level_is_refused(written: Log) -> None:
    with pytest.raises(ConfigurationError, match="LOG_LEVEL"):
        begin(written, log_level="LOUD")


def test_an_outage_is_one_line_a_minute(written: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten loops and a hundred requests a second meet the same fault."""
    now = [1000.0]
    monkeypatch.setattr(logging.time, "time", lambda: now[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.time, "time_ns", lambda: int(now[0] * 1e9), raising=False)  # type: ignore[attr-defined]
    logs.set_up(Settings(log_format=LogFormat.JSON), written.stream)
    away, other = DatabaseUnavailable("The database does not answer"), ProviderUnavailable("Kaspi is away")
    for _ in range(59):
        for loop in range(10):
            log.warning("background loop %d: %s", loop, away.message, extra=fault_of(away))
        from_domain(away)
        log.warning("missed events: %s", other.message, extra=fault_of(other))
        log.warning("something else")
        now[0] += 1
    lines = written.lines()
    assert sum("database" in line["event"] for line in lines) == 1
    assert sum("Kaspi" in line["event"] for line in lines) == 1
    assert sum(line["event"] == "something else" for line in lines) == 59
    now[0] += 2
    from_domain(away)
    assert "648 more lines like it since" in written.lines()[-1]["event"]


async def test_an_answer_is_no_line_of_the_errors(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    caplog.set_level(logging.INFO)
    assert (await served.api.get("/api/v1/payments/health/live")).status_code == 200
    loggers = {record.name for record in caplog.records if " 200 " in record.getMessage()}
    assert loggers == {"procomp_pay.server.http.access"}


async def test_each_503_has_its_reason_in_the_line_of_its_request(
    serve: Serve, written: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is not told; of the warnings only one a minute is written."""
    served = await serve()
    logs.set_up(Settings(log_format=LogFormat.JSON), written.stream)
    await rename_table(served.ctx, '"Participant"', "gone")
    for _ in range(2):
        refused = await served.api.get("/api/v1/payments/status/p1", headers=bearer(role="staff"))
        assert refused.status_code == 503
        assert "gone" not in refused.text
    await rename_table(served.ctx, "gone", '"Participant"')
    assert (await served.api.get("/api/v1/payments/health/live")).status_code == 200
    lines = [line for line in written.lines() if line["logger"] == "procomp_pay.server.http.access"]
    assert [line["status"] for line in lines] == [503, 503, 200]
    for line in lines[:2]:
        assert "has no tables" in line["reason"]
        assert "status > standing > selecting > " in line["raised_by"]
    assert "reason" not in lines[2]
