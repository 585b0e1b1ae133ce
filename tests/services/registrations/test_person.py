"""A person's names, addresses and letters go; their money and its audit trail stay, and verify."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.domain.errors import Conflict, NotFound
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.verify import Flaw
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.registrations import person
from procomp_pay.services.registrations.changes import edit_participant
from procomp_pay.services.registrations.participants import Details
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.payments import AuditEntry
from procomp_pay.storage.models.platform import Participant, Payment, User
from procomp_pay.storage.models.queues import OutboxMessage
from procomp_pay.storage.models.schema import METADATA
from procomp_pay.storage.registrations.person import ERASED, Mask
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_bill import ask

FIRST, NAME, MAIL = "Тимур Секретов", "Темирлан Секретов", "secretov@procomp.test"
CLUB = "Клуб Секретова"


async def sql(environment: ServiceEnvironment, statement: str, **values: Any) -> None:
    async with environment.ctx.db.writing() as session:
        await (await session.connection()).execute(text(statement), values)


async def everything(environment: ServiceEnvironment) -> str:
    """Return all that is in the database, decrypted."""
    rows: list[str] = []
    async with environment.ctx.db.reading() as session:
        connection = await session.connection()
        for table in METADATA.sorted_tables:
            for row in (await connection.execute(table.select())).mappings():
                for name, value in row.items():
                    if name.endswith("_enc") and value:
                        value = environment.ctx.keyring.unseal(value).decode("utf-8", "replace")  # noqa: PLW2901
                    rows.append(json.dumps(value, ensure_ascii=False, default=str))
    return "\n".join(rows)


async def paid(environment: ServiceEnvironment) -> Opening:
    """A payment of a person whose name was corrected, with a refund whose reason names them."""
    participant = await environment.participant(full_name=FIRST)
    await sql(environment, """UPDATE "User" SET email = :mail, name = :name""", mail=MAIL, name=NAME)
    opened = await environment.start(participant, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    await edit_participant(
        environment.ctx,
        participant,
        CLERK,
        name=NAME,
        details=Details.read(CLUB, None, "87011234567", "2014"),
    )
    reason = f"{NAME.upper()} is injured, {MAIL}"
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, reason, usd("20")), CLERK)
    await environment.deliver()
    await seal(environment.ctx, "aigerim")
    return opened


async def test_an_erased_person_is_nowhere_and_the_trail_verifies(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    before = await everything(environment)
    assert all(word in before for word in (FIRST, NAME, MAIL, CLUB))
    hashes = {(row.seq, row.hash) for row in await environment.rows(AuditEntry)}
    planned = await person.plan(environment.ctx, opened.view.participant_id)
    assert planned.messages == len(await environment.rows(OutboxMessage)) > 0
    done = await person.erase(
        environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True
    )  # fmt: skip
    assert done.entries > 0
    after = (await everything(environment)).lower()
    assert [word for word in (FIRST, NAME, MAIL, CLUB, "…67") if word.lower() in after] == []
    assert 2014 not in [(row.after or {}).get("birth_year") for row in await environment.rows(AuditEntry)]
    assert hashes < {(row.seq, row.hash) for row in await environment.rows(AuditEntry)}
    report = await audit_verify.verify(environment.ctx, all_seals=True)
    assert (report.findings, report.seals) == ([], 1)
    view = await environment.view(opened)
    assert (view.status, view.refunded) == (PaymentStatus.COMPLETED, usd("20"))
    again = await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    assert again.entries == 0
    assert (await audit_verify.verify(environment.ctx)).is_sound


async def test_the_platforms_rows_stay_unless_they_are_ours(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=False)
    assert (await environment.rows(Participant))[0].full_name == NAME
    assert (await environment.rows(User))[0].email == MAIL
    assert NAME not in str((await environment.rows(Payment))[0].meta)


async def test_names_taken_out_by_others_are_noticed(environment: ServiceEnvironment) -> None:
    await paid(environment)
    await sql(environment, "UPDATE pay_audit_entry SET note = '[erased]' WHERE action = 'participant_edited'")
    report = await audit_verify.verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.EDITED]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pay_payment_detail SET provider_open = true",
        "UPDATE pay_refund SET state = 'PENDING'",
        "UPDATE pay_webhook_event SET state = 'dead'",
        "UPDATE pay_outbox SET state = 'waiting'",
    ],
)
async def test_nobody_is_erased_while_something_is_open(
    environment: ServiceEnvironment, statement: str
) -> None:
    opened = await paid(environment)
    await sql(environment, statement)
    before = await everything(environment)
    with pytest.raises(Conflict, match="nothing was erased"):
        await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    assert await everything(environment) == before


async def test_the_export_has_it_all_without_secrets(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    document = await person.export(environment.ctx, opened.view.participant_id)
    shown = json.dumps(document, ensure_ascii=False, default=str)
    assert document["user"]["email"] == MAIL
    assert document["registrations"][0]["full_name"] == NAME
    assert [row["id"] for row in document["payments"]] == [opened.view.payment_id]
    assert document["events"][0]["payload"]
    assert len(document["audit"]) == len(await environment.rows(AuditEntry))
    assert "_secret_" not in shown
    with pytest.raises(NotFound):
        await person.export(environment.ctx, "nobody")


async def test_one_child_of_two_leaves_the_parent(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    child = (await environment.rows(Participant))[0]
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        session.add(
            Participant(
                id="sister", user_id=child.user_id, tournament_id=child.tournament_id, full_name="Айша",
                created_at=now, updated_at=now,
            )
        )  # fmt: skip
    done = await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    assert done.user_id is None
    assert (await environment.rows(User))[0].email == MAIL
    both = await person.plan(environment.ctx, str(child.user_id))
    assert sorted(both.participant_ids) == sorted([child.id, "sister"])


async def test_kaspi_gets_the_same_answer_after_the_person_is_erased(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant(full_name=NAME)
    first = await pay(environment.ctx, ask(participant_id))
    await environment.deliver()
    await sql(environment, "UPDATE pay_outbox SET state = 'skipped'")
    await person.erase(environment.ctx, participant_id, CLERK, with_platform_rows=True)
    assert await pay(environment.ctx, ask(participant_id)) == first


def test_a_name_that_is_a_word_of_the_books_leaves_them_whole() -> None:
    document = {
        "status": "COMPLETED",
        "participantId": "ali",
        "reason": "Ali, реализация Али",
        "list": ["ALI"],
    }
    assert Mask(["Completed", "Ali", "Али"])(document) == {
        "status": "COMPLETED",
        "participantId": "ali",
        "reason": f"{ERASED}, реализация {ERASED}",
        "list": [ERASED],
    }
