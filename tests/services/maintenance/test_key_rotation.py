"""New keys for old ciphertext, beside a desk that goes on working."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from procomp_pay.domain.states import Channel
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance.key_rotation import count, rotate, size
from procomp_pay.services.views import payment as views
from procomp_pay.storage.encryption import rotation
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.schema import METADATA
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import ServiceEnvironment

OLD, NEW = new_key(), new_key()


def with_keys(environment: ServiceEnvironment, *keys: str) -> AppContext:
    return replace(environment.ctx, keyring=Keyring(keys))


def test_every_encrypted_column_is_known() -> None:
    there = {f"{t.name}.{c.name}" for t in METADATA.tables.values() for c in t.columns if "_enc" in c.name}
    assert {column.name for column in rotation.COLUMNS} == there


async def some(environment: ServiceEnvironment, number: int = 3) -> list[views.Opening]:
    """Payments and events under the old key."""
    environment.ctx = with_keys(environment, OLD)
    opened = [await environment.start() for _ in range(number)]
    intent = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(intent.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    return [*opened, intent]


@pytest.mark.parametrize("page", [1, 2, 50])
async def test_everything_is_put_under_the_newest_key(
    environment: ServiceEnvironment, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await some(environment)
    monkeypatch.setattr(rotation, "PAGE", page)
    environment.ctx = with_keys(environment, NEW, OLD)
    progress: list[int] = []
    before = await count(environment.ctx)
    assert before.old == before.rows == await size(environment.ctx) > 4
    done = await rotate(environment.ctx, on_progress=progress.append)
    assert (done.rotated, done.left.old, done.left.unreadable) == (before.rows, 0, 0)
    assert progress[-1] == before.rows
    assert (await rotate(environment.ctx)).rotated == 0
    environment.ctx = with_keys(environment, NEW)
    for item in opened:
        again = await views.opening(environment.ctx, item.view.payment_id)
        assert (again.qr_payload, again.client_secret) == (item.qr_payload, item.client_secret)
    assert not (await environment.maintain()).events_failed


async def test_what_no_key_reads_is_named_and_left(environment: ServiceEnvironment) -> None:
    await some(environment, 1)
    lost = Keyring([new_key()]).encrypt("lost")
    async with environment.ctx.db.writing() as session:
        detail = (await environment.rows(PaymentDetail))[0]
        row = await session.get(PaymentDetail, detail.payment_id)
        assert row is not None
        row.client_secret_enc = lost
    environment.ctx = with_keys(environment, NEW, OLD)
    left = (await rotate(environment.ctx)).left
    assert (left.old, left.unreadable) == (0, 1)
    assert left.named == [f"pay_payment_detail.client_secret_enc of {detail.payment_id}"]
    assert lost in [row.client_secret_enc for row in await environment.rows(PaymentDetail)]


async def test_a_row_that_was_written_meanwhile_is_left_as_it_was_written(
    environment: ServiceEnvironment,
) -> None:
    await some(environment, 2)
    environment.ctx = with_keys(environment, NEW, OLD)
    column = next(item for item in rotation.COLUMNS if item.column == "payload_enc")
    async with environment.ctx.db.reading() as session:
        rows = await rotation.page(session, column, "")
    fresh = environment.ctx.keyring.encrypt("fresh")
    async with environment.ctx.db.writing() as session:
        row = await session.get(WebhookEvent, rows[0][0])
        assert row is not None
        row.payload_enc = fresh
    changes = [(key, old, environment.ctx.keyring.rotate(old)) for key, old in rows]
    async with environment.ctx.db.writing() as session:
        assert await rotation.replace(session, column, changes) == len(rows) - 1
    assert fresh in [row.payload_enc for row in await environment.rows(WebhookEvent)]


async def test_beside_a_desk_that_works(environment: ServiceEnvironment) -> None:
    """Two rotations and a desk that goes on under the old key: nothing is lost, all is counted."""
    await some(environment, 6)
    old, both = environment.ctx, with_keys(environment, NEW, OLD)

    async def work() -> list[views.Opening]:
        return [await environment.start() for _ in range(4)]

    made, *_ = await asyncio.gather(work(), rotate(both), rotate(both))
    environment.ctx = both
    assert (await rotate(both)).left.old == 0
    for item in made:
        assert (await views.opening(both, item.view.payment_id)).qr_payload == item.qr_payload
    environment.ctx = old
    await environment.start()
    assert (await count(both)).old == 1, "a process that was not restarted"


def test_a_report_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from procomp_pay.services.maintenance import key_rotation as module

    found = module.Count()
    ctx: Any = type("D", (), {"keyring": Keyring([NEW])})()
    for n in range(100):
        module._classify(ctx, rotation.COLUMNS[0], f"p{n}", "x", found)
    assert (found.unreadable, len(found.named)) == (100, module.MOST_NAMED)
