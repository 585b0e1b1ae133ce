"""Destinations and subjects of messages, backoff of deliveries, and settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procomp_pay.config import delivery as post
from procomp_pay.config.delivery import Encryption, is_address, mail_server, one_line
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.language import Language, preferred
from procomp_pay.domain.notifications import dedup_key_for, destinations, may_alert, wait_s
from procomp_pay.domain.topics import Topic


@given(st.integers(1, 1000), st.floats(0, 1), st.none() | st.integers(0, 10**9))
def test_backoff_is_bounded(attempt: int, jitter: float, asked_s: int | None) -> None:
    wait = wait_s(attempt, jitter=jitter, asked_s=asked_s)
    assert 7.5 <= wait <= 6 * 3600
    assert wait >= min(asked_s or 0, 6 * 3600)
    assert wait_s(attempt + 1, jitter=0.5) >= wait_s(attempt, jitter=0.5)


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_has_a_destination(topic: Topic) -> None:
    where = destinations(topic, {})
    assert where
    assert all(item.is_alert is topic.startswith("alert.") for item in where)
    assert (dedup_key_for(topic, {}, "p1") is None) is not topic.startswith("alert.")


def test_an_alert_about_a_broken_channel_uses_the_others() -> None:
    assert destinations(Topic.ALERT_DEAD_LETTER, {"not_by": "alert_mail"}) == (Destination.ALERT_WEBHOOK,)
    assert not may_alert(Topic.ALERT_DEAD_LETTER, {"destination": "alert_mail"})
    assert may_alert(Topic.ALERT_DEAD_LETTER, {"event_id": "evt_1"})
    assert may_alert(Topic.ALERT_DISPUTE, {})
    assert destinations("something.else", {}) == ()


@pytest.mark.parametrize(
    ("topic", "one", "other", "same"),
    [
        (Topic.ALERT_DEAD_LETTER, {"event_id": "evt_1"}, {"event_id": "evt_2"}, True),
        (Topic.ALERT_DEAD_LETTER, {"event_id": "evt_1"}, {"destination": "alert_mail"}, False),
        (Topic.ALERT_DISCREPANCY, {"kind": "STUCK"}, {"kind": "STUCK", "discrepancy_id": "d"}, True),
        (
            Topic.ALERT_DISPUTE,
            {"dispute": "d", "state": "open"},
            {"dispute": "d", "state": "withdrawn"},
            True,
        ),
        (Topic.ALERT_DISPUTE, {"dispute": "d", "state": "open"}, {"dispute": "d", "state": "lost"}, False),
        (Topic.ALERT_REFUND, {"refund_id": "r1"}, {"refund_id": "r2"}, False),
        (Topic.ALERT_LATE, {"amount": 1}, {"amount": 2}, True),
    ],
)
def test_subject_of_an_alert(topic: Topic, one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (dedup_key_for(topic, one, "p1") == dedup_key_for(topic, other, "p1")) is same
    assert dedup_key_for(Topic.ALERT_LATE, {}, "p1") != dedup_key_for(Topic.ALERT_LATE, {}, "p2")


@pytest.mark.parametrize(
    ("text", "host", "port", "encryption"),
    [
        ("smtp://mail.example.com", "mail.example.com", 587, Encryption.IF_OFFERED),
        ("smtp://u:p@mail.example.com:25", "mail.example.com", 25, Encryption.STARTTLS),
        ("smtps://u:p%40%3A@mail.example.com", "mail.example.com", 465, Encryption.TLS),
        ("smtp://localhost:25", "localhost", 25, Encryption.NONE),
        ("smtp://u:p@127.0.0.1:25", "127.0.0.1", 25, Encryption.NONE),
        ("smtp://u:p@127.0.0.1:25?starttls=always", "127.0.0.1", 25, Encryption.STARTTLS),
        ("smtp://10.0.0.5?starttls=never", "10.0.0.5", 587, Encryption.NONE),
    ],
)
def test_parse_mail_server_settings(text: str, host: str, port: int, encryption: Encryption) -> None:
    server = mail_server(text)
    assert (server.host, server.port, server.encryption) == (host, port, encryption)
    assert "p@:" not in repr(server)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("mail_server", "http://mail.example.com"),
        ("mail_server", "mail.example.com:25"),
        ("mail_server", "smtp://hush@mail.example.com"),
        ("mail_server", "smtp://mail.example.com:hush"),
        ("mail_server", "smtp://mail.example.com?starttls=hush"),
        ("sender", "hush"),
        ("sender", "A <a@example.com>\nBcc: hush@example.com"),
        ("check_hook_url", "http://hush.example.com/x"),
        ("check_hook_url", "https:///hush"),
        ("check_hook_url", "ftp://127.0.0.1/hush"),
        ("check_hook_url", "https://example.com/hush hush"),
        ("hook_secrets", "hush"),
        ("hook_secrets", "whsec_aHVzaA=="),
        ("hook_secrets", "whsec_not/base64!" + "A" * 32),
        ("hook_secrets", ""),
        ("addresses", ""),
        ("addresses", "ops@example.com, hush"),
    ],
)
def test_errors_name_the_setting_without_its_value(check: str, text: str) -> None:
    named = () if check in ("mail_server", "sender") else ("SETTING",)
    with pytest.raises(ConfigurationError) as caught:
        getattr(post, check)(*named, text)
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a@example.com", True),
        ("first.last+tag@mail.example.kz", True),
        ("o'neil@example.com", True),
        ("", False),
        ("a", False),
        ("a@localhost", False),
        ("a@@example.com", False),
        ("a@example.com\n", False),
        ("a@example.com\r\nBcc: b@example.com", False),
        ("a@example.com,b@example.com", False),
        ("Eve <a@example.com>", False),
        ("a b@example.com", False),
        ('"a b"@example.com', False),
        ("a@exa mple.com", False),
        ("асель@example.com", False),
        ("a" * 250 + "@example.com", False),
    ],
)
def test_parse_addresses(text: str, good: bool) -> None:
    assert is_address(text) is good


@settings(max_examples=30)
@given(st.text(max_size=30))
def test_valid_addresses_are_safe_in_headers(text: str) -> None:
    if is_address(text):
        assert text.isprintable()
        assert not set(text) & set(' ,;<>"')
    assert one_line(text).replace("\N{NO-BREAK SPACE}", "").isprintable()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, None),
        ("", None),
        ("kk-KZ,kk;q=0.9,ru;q=0.8", Language.KAZAKH),
        ("de, en;q=0.5, ru;q=0.7", Language.RUSSIAN),
        ("ru;q=0, en-GB", Language.ENGLISH),
        ("de", None),
        ("en;q=nonsense, *;q=0.1", None),
    ],
)
def test_preferred_language(header: str | None, language: Language | None) -> None:
    assert preferred(header) is language
