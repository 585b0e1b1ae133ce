"""Many events in one transaction, and each in its own: the same books, to the last column."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, insert, select

from procomp_pay.domain.states import Channel
from procomp_pay.services.context import AppContext
from procomp_pay.services.webhooks import batch, inbox
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.schema import METADATA
from procomp_pay.storage.webhooks import inbox as queues
from procomp_pay.storage.webhooks import intake
from tests.support.environment import ServiceEnvironment

#: Made anew by each run, as is whatever names them.
_OWN = {"pay_outbox": {"id"}, "pay_discrepancy": {"id"}, "pay_refund": {"id"}, "pay_audit_entry": {"id"}}

Books = dict[str, list[dict[str, Any]]]


async def books(db: PaymentDatabaseService) -> Books:
    """Every row of every table."""
    async with db.reading() as session:
        connection = await session.connection()
        return {
            table.name: [dict(row) for row in (await connection.execute(select(table))).mappings()]
            for table in METADATA.sorted_tables
        }


async def restore(db: PaymentDatabaseService, before: Books) -> None:
    async with db.writing() as session:
        connection = await session.connection()
        for table in reversed(METADATA.sorted_tables):
            await connection.execute(table.delete())
        for table in METADATA.sorted_tables:
            if before[table.name]:
                await connection.execute(insert(table), [_by_key(table, row) for row in before[table.name]])


def _by_key(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {column.key: row[column.name] for column in table.columns}


def comparable(outcome: Books) -> dict[str, list[str]]:
    """Rows in an order of their own, without what is another one in each run."""
    made = {str(row["id"]) for name in _OWN for row in outcome[name] if isinstance(row["id"], str)}
    rows_by_table: dict[str, list[str]] = {}
    for name, rows in outcome.items():
        texts = []
        for row in rows:
            text = repr(sorted((k, v) for k, v in row.items() if k not in _OWN.get(name, ())))
            for item in made:
                text = text.replace(item, "…")
            texts.append(text)
        rows_by_table[name] = sorted(texts)
    return rows_by_table


@dataclass
class Script:
    """Payments in all kinds of states, and the events that come for them, in order."""

    environment: ServiceEnvironment
    events: list[dict[str, Any]] = field(default_factory=list)

    def say(self, event: dict[str, Any], **changes: Any) -> None:
        """One more event, with other values in its object."""
        made = copy.deepcopy(event)
        made["id"] = f"evt_twin_{len(self.events)}"
        made["data"]["object"] |= changes
        self.events.append(made)

    async def paid(self, wallet: str = "apple_pay", **changes: Any) -> tuple[str, str, dict[str, Any]]:
        """Payment, participant, and the event that says that it was paid."""
        participant_id = await self.environment.participant(**changes)
        opened = await self.environment.start(participant_id, wallet, channel=Channel.STRIPE_INTENT)
        await self.environment.confirm(str(opened.view.provider_ref), f"pm_{wallet}")
        mine = await self.of(opened.view.payment_id)
        return opened.view.payment_id, participant_id, mine["payment_intent.succeeded"]

    async def of(self, payment_id: str) -> dict[str, dict[str, Any]]:
        return {e["type"]: e for e in await self.environment.events() if payment_id in json.dumps(e)}

    async def write(self) -> None:
        environment = self.environment
        _, _, event = await self.paid()
        self.say(event)
        self.say(event)  # Stripe may say the same under two ids
        _, _, event = await self.paid("google_pay")
        self.say(event)
        _, _, event = await self.paid()
        self.say(event, amount=4900, amount_received=4900)
        self.say(event, amount=4900, amount_received=4900)
        self.say(event)
        _, _, event = await self.paid()
        self.say(event, currency="eur")
        _, _, event = await self.paid()
        self.say(event | {"type": "payment_intent.processing"}, status="processing")
        self.say(event | {"type": "payment_intent.canceled"}, status="canceled")
        _, _, event = await self.paid()
        self.say(event | {"type": "payment_intent.processing"}, status="processing")
        _, _, event = await self.paid()  # a second object that names our payment
        self.say(event)
        self.say(event, id="pi_stranger", latest_charge="ch_stranger")
        await self._declined()
        await self._page()
        await self._people()
        for event in await environment.events():
            if event["type"] in ("charge.updated", "customer.created", "payment_intent.created"):
                self.say(event)
                break
        self.say(event, id="pi_foreign", metadata={})
        self.say(event | {"livemode": True})
        self.say(event | {"account": "acct_other"})
        refunded, _, event = await self.paid()
        self.say(event)
        auth = environment._stripe_auth()
        intent = {"payment_intent": event["data"]["object"]["id"], "amount": "2000"}
        assert (await environment.http.post("/v1/refunds", data=intent, headers=auth)).status_code == 200
        for kind, item in (await self.of(refunded)).items():
            if "refund" in kind:
                self.say(item)

    async def _declined(self) -> None:
        environment = self.environment
        for method in ("pm_apple_pay", None):
            opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
            intent = str(opened.view.provider_ref)
            await environment.confirm(intent, "pm_card_chargeDeclined")
            if method is not None:
                await environment.confirm(intent, method)
            mine = await self.of(opened.view.payment_id)
            self.say(mine["payment_intent.payment_failed"])
            if method is not None:
                self.say(mine["payment_intent.succeeded"])
            self.say(mine["payment_intent.payment_failed"])

    async def _page(self) -> None:
        environment = self.environment
        opened = await environment.start(method="google_pay")
        await environment.pay_page(opened, "google_pay")
        for event in (await self.of(opened.view.payment_id)).values():
            self.say(event)

    async def _people(self) -> None:
        """Participants who are paid by another payment, deleted or moved elsewhere; late money."""
        environment = self.environment
        paid = """UPDATE "Participant" SET status = 'PAID', "paymentId" = :other WHERE id = :id"""
        other, _, _ = await self.paid()
        _, participant_id, event = await self.paid()
        await environment.sql(paid, other=other, id=participant_id)
        self.say(event)
        _, participant_id, event = await self.paid()
        await environment.sql(
            """UPDATE "Participant" SET status = 'CANCELLED' WHERE id = :id""", id=participant_id
        )
        self.say(event)
        _, participant_id, event = await self.paid()
        moved = (await environment.read_participant(await environment.participant())).tournament_id
        await environment.sql(
            """UPDATE "Participant" SET "tournamentId" = :t WHERE id = :id""",
            t=moved,
            id=participant_id,
        )
        self.say(event)
        _, participant_id, event = await self.paid()
        await environment.sql("""DELETE FROM "Participant" WHERE id = :id""", id=participant_id)
        self.say(event)
        for status in ("EXPIRED", "CANCELLED", "PROCESSING", "FAILED"):
            payment_id, _, event = await self.paid()
            change = f"""UPDATE "Payment" SET status = '{status}', "failureReason" = 'ж' WHERE id = :id"""
            await environment.sql(change, id=payment_id)
            self.say(event)
        # two open payments of one: the other one is hurried
        participant_id = await environment.participant()
        await environment.start(participant_id)
        opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
        await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
        self.say((await self.of(opened.view.payment_id))["payment_intent.succeeded"])


def at(ctx: AppContext, moment: datetime) -> AppContext:
    return replace(ctx, clock=lambda: moment)


@pytest.mark.parametrize("from_memory", [False, True])
async def test_many_at_once_leave_the_books_that_each_alone_leaves(
    environment: ServiceEnvironment,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    from_memory: bool,
) -> None:
    if from_memory:
        monkeypatch.setattr(environment.ctx.intake, "_scan_at", float("inf"))
    else:
        monkeypatch.setattr(intake, "_MOST_KEPT", 0)
    script = Script(environment)
    await script.write()
    for event in script.events:
        await environment.receive(event)
    moment = environment.now() + timedelta(seconds=1.234567)
    ctx = at(environment.ctx, moment)
    before = await books(environment.ctx.db)
    many = await batch.handle_due(ctx, limit=len(script.events))
    assert len(many) == len(script.events)
    assert "one by one" not in caplog.text
    at_once = comparable(await books(environment.ctx.db))
    await restore(environment.ctx.db, before)
    assert comparable(await books(environment.ctx.db)) == comparable(before)
    async with ctx.db.writing() as session:
        due = [row.id for row in await queues.claim_many(session, moment, limit=len(script.events))]
    for row_id in due:
        assert await inbox.handle_one(ctx, row_id) is not None
    alone = comparable(await books(environment.ctx.db))
    for name, rows in alone.items():
        assert (set(at_once[name]) - set(rows), set(rows) - set(at_once[name])) == (set(), set()), name
