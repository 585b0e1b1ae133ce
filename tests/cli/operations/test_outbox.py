"""``outbox``: listing, replay and tests of the channels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from procomp_pay.domain.destinations import Destination
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.states import DeliveryState, OutboxState
from tests.support.patience import PATIENCE_S
from tests.support.receivers import MailBox, Receiver, mail_server, receiver
from tests.support.terminal import CommandLine

NOW = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)
SECRET = "whsec_" + "c2VjcmV0" * 4


class Neighbours:
    """A mail server and an HTTP receiver in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.box: MailBox = self._wait(self._stack.enter_async_context(mail_server()))
        self.hooks: Receiver = self._wait(self._stack.enter_async_context(receiver()))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def neighbours(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neighbours]:
    """Configure all channels."""
    made = Neighbours()
    monkeypatch.setenv("SMTP_URL", f"smtp://127.0.0.1:{made.box.port}")
    monkeypatch.setenv("MAIL_FROM", "ProComp <pay@procomp.test>")
    monkeypatch.setenv("PLATFORM_WEBHOOK_URL", f"{made.hooks.url}/hooks")
    monkeypatch.setenv("PLATFORM_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{made.hooks.url}/services/T0/hush")
    monkeypatch.setenv("ALERT_MAIL_TO", "ops@procomp.test")
    yield made
    made.close()


def a_message(number: int, **more: Any) -> OutboxMessage:
    values: dict[str, Any] = {
        "id": f"m{number}",
        "topic": "payment.received",
        "payload": {"payment_id": "pay1", "reason": "kid \x1b[31m"},
        "state": OutboxState.ROUTED,
        "next_attempt_at": NOW,
        "created_at": NOW,
    }
    return OutboxMessage(**(values | more))


def a_delivery(number: int, message: str, state: DeliveryState, **more: Any) -> Delivery:
    values: dict[str, Any] = {
        "id": f"d{number}",
        "message_id": message,
        "destination": Destination.PLATFORM_WEBHOOK,
        "state": state,
        "attempts": 14,
        "next_attempt_at": NOW,
        "created_at": NOW,
        "finished_at": NOW,
    }
    return Delivery(**(values | more))


@pytest.fixture
def filled(sqlite_clerk: CommandLine) -> CommandLine:
    sqlite_clerk.write(
        a_message(1),
        a_delivery(1, "m1", DeliveryState.DEAD, last_error="platform.example answered 503 \x1b[31m"),
        a_delivery(2, "m1", DeliveryState.DELIVERED, destination=Destination.PARTICIPANT_MAIL, attempts=1),
        a_message(2, topic="alert.dispute", state=OutboxState.HELD, skipped="the same alert was told"),
        a_message(3, state=OutboxState.SKIPPED, skipped="not configured: participant_mail"),
    )
    return sqlite_clerk


def test_list_and_show(filled: CommandLine) -> None:
    output = filled.type("outbox", "list")
    assert (
        "✗ platform webhook dead since Fri 1 May 14:00, 14 attempts: platform.example answered 503"
        in output.out
    )
    assert "✓ participant mail delivered" in output.out
    assert "held: the same alert was told" in output.out
    assert "\x1b" not in output.out
    ids = [item["message_id"] for item in filled.ask("outbox", "list", "--state", "dead")["items"]]
    assert ids == ["m1"]
    assert [item["message_id"] for item in filled.ask("outbox", "list", "--state", "skipped")["items"]] == [
        "m3"
    ]
    assert [item["message_id"] for item in filled.ask("outbox", "list", "--topic", "alert")["items"]] == [
        "m2"
    ]
    assert filled.ask("outbox", "list", "--payment", "nobody", code=4)["exit_code"] == 4
    assert "No messages match" in filled.type("outbox", "list", "--topic", "nothing").err
    for some_id in ("m1", "d1"):
        got = filled.ask("outbox", "show", some_id)
        assert {delivery["delivery_id"]: delivery["state"] for delivery in got["deliveries"]} == {
            "d1": "dead",
            "d2": "delivered",
        }
    output = filled.type("outbox", "show", "m1")
    assert "procomp-pay outbox replay m1" in output.err
    assert "\x1b" not in output.out
    assert "There is no message" in filled.type("outbox", "show", "nothing", code=4).err
    filled.type("outbox", "list", "--limit", "501", code=2)


def test_replay(filled: CommandLine, neighbours: Neighbours) -> None:
    assert "1 delivery would be sent again" in filled.type("outbox", "replay", "--dead", "--dry-run").out
    assert filled.ask("outbox", "replay", "--dead", "--destination", "alert_mail")["deliveries"] == 0
    assert filled.ask("outbox", "replay", "m1") == {"deliveries": 1, "dry_run": False}
    assert "it is delivered, waiting" in filled.type("outbox", "replay", "m1", code=3).err
    assert "it is held" in filled.type("outbox", "replay", "m2", code=3).err
    filled.type("outbox", "replay", "m3")
    assert "2 messages delivered" in filled.type("maintain").out
    assert "d1" in [headers["webhook-id"] for headers, *_ in neighbours.hooks.got]
    assert [delivery["state"] for delivery in filled.ask("outbox", "show", "m1")["deliveries"]] == [
        "delivered"
    ] * 2
    for words in ((), ("m1", "--dead"), ("m1", "--destination", "alert_mail")):
        assert "give a MESSAGE" in filled.type("outbox", "replay", *words, code=2).err


def test_outbox_test_reports_each_channel(sqlite_clerk: CommandLine, neighbours: Neighbours) -> None:
    got = sqlite_clerk.ask("outbox", "test", "--to", "me@procomp.test")
    assert [(test["destination"], test["result"]) for test in got["tests"]] == [
        ("participant_mail", "delivered"),
        ("platform_webhook", "delivered"),
        ("alert_webhook", "delivered"),
        ("alert_mail", "delivered"),
    ]
    assert neighbours.box.to == ["me@procomp.test", "ops@procomp.test"]
    assert len(neighbours.hooks.got) == 2
    neighbours.hooks.says = [500, 404]
    output = sqlite_clerk.type("outbox", "test", code=5)
    assert "- participant mail: give an address with --to" in output.out
    assert "✗ platform webhook: 127.0.0.1 answered 500" in output.out
    assert "✗ alert webhook: 127.0.0.1 answered 404" in output.out
    assert "✓ alert mail ops@procomp.test: accepted" in output.out
    assert "hush" not in output.out + output.err


def test_outbox_test_without_channels(sqlite_clerk: CommandLine) -> None:
    output = sqlite_clerk.type("outbox", "test")
    assert output.out.count("is not set") == 4
    checks = {check["name"]: check for check in sqlite_clerk.ask("doctor")["checks"]}
    assert checks["letters"]["found"].startswith("not configured (SMTP_URL)")
    assert checks["alerts"]["next_step"] == "set ALERT_WEBHOOK_URL or ALERT_MAIL_TO"


def test_doctor_lists_the_channels_without_secrets(sqlite_clerk: CommandLine, neighbours: Neighbours) -> None:
    output = sqlite_clerk.type("doctor")
    assert f"ProComp <pay@procomp.test> by 127.0.0.1:{neighbours.box.port}" in output.out
    assert "→ try it: procomp-pay outbox test --to ADDRESS" in output.out
    assert "to a chat (ALERT_WEBHOOK_URL) and ops@procomp.test" in output.out
    assert "hush" not in output.out
    assert SECRET not in output.out


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SMTP_URL": "smtp://mail.example.com"}, "SMTP_URL is set and MAIL_FROM is not"),
        ({"ALERT_MAIL_TO": "ops@example.com"}, "ALERT_MAIL_TO is set and SMTP_URL is not"),
        ({"PLATFORM_WEBHOOK_URL": "https://example.com/h"}, "PLATFORM_WEBHOOK_SECRET is not"),
        ({"PLATFORM_WEBHOOK_URL": "http://example.com/hush"}, "PLATFORM_WEBHOOK_URL cannot be used"),
        ({"PLATFORM_WEBHOOK_SECRET": "hush"}, "PLATFORM_WEBHOOK_SECRET cannot be used"),
        ({"ALERT_WEBHOOK_URL": "http://hooks.example.com/hush"}, "ALERT_WEBHOOK_URL cannot be used"),
        ({"MAIL_LANGUAGE": "hush"}, "MAIL_LANGUAGE"),
    ],
)
def test_an_incomplete_setting_is_refused(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    output = sqlite_clerk.type("outbox", "list", code=7)
    assert says in output.err
    assert "hush" not in output.err
