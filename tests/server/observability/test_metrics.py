"""``/metrics``: access, values, and labels with few fixed values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.sandbox.tls import Authority
from procomp_pay.server.api.routes import BASE
from procomp_pay.server.observability import metrics
from tests.support.http_requests import rename_table
from tests.support.server import Serve, Served

TOKEN = "a-token-for-the-metrics"
CERTIFICATE = "procomp_pay_kaspi_certificate_days_left"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_S", 0.0)
    # a busy machine may need longer; what was not counted at the start would not be counted later
    monkeypatch.setattr(metrics, "_QUERY_TIMEOUT_S", 30.0)


async def figures(served: Served) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, sorted by label name."""
    answer = await served.api.get(f"{BASE}/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_payments_events_and_calls_are_counted(served: Served, eventually: Any) -> None:
    started = await served.initiate()
    await served.initiate("p2", "kaspi_qr")
    await served.pay(started["client_secret"], "pm_card_chargeDeclined")
    key = ("procomp_pay_payment_failures_total", "apple_pay", "declined")
    values = await eventually(lambda: _with(served, key))
    assert values[("procomp_pay_payments_initiated_total", "apple_pay")] == 1
    assert values[("procomp_pay_payments_initiated_total", "kaspi_qr")] == 1
    assert values[("procomp_pay_payments_moved_total", "apple_pay", "failed")] == 1
    assert values[("procomp_pay_payments", "kaspi_qr", "pending")] == 1
    await served.pay(started["client_secret"])
    key = ("procomp_pay_time_to_complete_seconds_count", "apple_pay")
    await eventually(lambda: _with(served, key))
    # counted a moment after the commit that shows the payment as completed
    values = await eventually(lambda: _with(served, ("procomp_pay_webhook_lag_seconds_count",), least=2))
    assert values[("procomp_pay_payments_moved_total", "apple_pay", "completed")] == 1
    assert values[("procomp_pay_provider_call_seconds_count", "create", "ok", "stripe")] == 1
    assert values[("procomp_pay_queue_depth", "inbox_dead")] == 0
    assert values[("procomp_pay_queue_depth", "payments_watched")] >= 1
    assert values[("procomp_pay_background_heartbeat_age_seconds", "inbox")] < 10
    assert values[("procomp_pay_database_up",)] == 1
    assert (CERTIFICATE,) not in values  # none is configured


async def _with(served: Served, key: tuple[str, ...], *, least: float = 1) -> Any:
    values = await figures(served)
    return values if values.get(key, 0) >= least else None


async def test_failed_provider_calls_are_counted(served: Served) -> None:
    served.sandbox.faults.add({"path": "/v1/payment_intents", "kind": "status", "status": 400, "times": 1})
    headers = {"Authorization": f"Bearer {_staff()}"}
    body = {"participant_id": "p1", "method": "apple_pay"}
    await served.api.post(f"{BASE}/initiate", json=body, headers=headers)
    labels = [key[1:] for key in await figures(served) if key[0] == "procomp_pay_provider_call_seconds_count"]
    assert [label for label in labels if label[0] == "create" and label[1] != "ok"]


def _staff() -> str:
    from tests.support.http_requests import token

    return token(role="staff")


async def test_metrics_without_the_database(served: Served) -> None:
    await figures(served)
    await rename_table(served.ctx, "pay_delivery", "gone")
    try:
        values = await figures(served)
        assert values[("procomp_pay_database_up",)] == 0
        assert not any(key[0] == "procomp_pay_queue_depth" for key in values)
    finally:
        await rename_table(served.ctx, "gone", "pay_delivery")


async def test_the_certificate_is_read_at_each_scrape(serve: Serve, tmp_path: Path) -> None:
    key = (CERTIFICATE,)
    authority, pair = Authority(), (tmp_path / "client.crt", tmp_path / "client.key")
    authority.client(life=timedelta(days=30, hours=1)).write(tmp_path, "client")
    served = await serve(
        kaspi_scheme=KaspiScheme.ENHANCED, kaspi_client_cert=pair[0], kaspi_client_key=pair[1]
    )
    assert (await figures(served))[key] == 30
    old = authority.client(begins=datetime(2020, 1, 1, tzinfo=UTC), life=timedelta(days=9))
    old.write(tmp_path, "client")
    assert (await figures(served))[key] < -1000
    for broken in ("no certificate", None):
        pair[0].write_text(broken) if broken else pair[0].unlink()
        values = await figures(served)
        assert key not in values
        assert values[("procomp_pay_database_up",)] == 1


async def test_requests_through_a_proxy_are_not_local(served: Served) -> None:
    for name in metrics._FORWARDED:
        answer = await served.api.get(f"{BASE}/metrics", headers={name: "127.0.0.1"})
        assert answer.status_code == 403, name
        assert "procomp_pay_" not in answer.text


async def test_a_configured_token_is_required(serve: Serve) -> None:
    served = await serve(metrics_token=SecretStr(TOKEN))
    for given, status in (
        ([], 401),
        ([f"Bearer {TOKEN}"], 200),
        ([f"bearer {TOKEN}"], 200),
        ([f"Bearer {TOKEN}x"], 401),
        ([f"Basic {TOKEN}"], 401),
        (["Bearer"], 401),
        ([f"Bearer {TOKEN}"] * 2, 401),
    ):
        headers = [("Authorization", item) for item in given]
        answer = await served.api.get(f"{BASE}/metrics", headers=headers)
        assert answer.status_code == status, given
    through = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "1.2.3.4"}
    assert (await served.api.get(f"{BASE}/metrics", headers=through)).status_code == 200


def test_other_addresses_are_refused_without_a_token() -> None:
    """Check the function itself: a test cannot connect from another address."""
    for peer, inside in (
        (("127.0.0.1", 5), True), (("127.8.8.8", 5), True), (("::1", 5), True),
        (("::ffff:127.0.0.1", 5), True),
        (("192.168.1.5", 5), False), (("::ffff:10.0.0.1", 5), False), (("fe80::1%eth0", 5), False),
        ("", False), (None, False),
    ):  # fmt: skip
        request: Any = type("R", (), {"headers": {}, "transport": _Transport(peer)})()
        assert metrics._is_local(request) is inside, peer


class _Transport:
    def __init__(self, peer: Any) -> None:
        self._peer = peer

    def get_extra_info(self, _name: str) -> Any:
        return self._peer


async def test_a_short_token_is_refused(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="METRICS_TOKEN"):
        await serve(metrics_token=SecretStr("short"))


async def test_counts_are_cached(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_S", 60.0)
    before = await figures(served)
    await served.initiate()
    again = await figures(served)
    key = ("procomp_pay_payments_initiated_total", "apple_pay")
    assert before.get(key) == again.get(key) is None
