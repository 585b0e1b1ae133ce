"""A person's names, addresses and letters go; their money and its audit trail stay, and verify."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlmodel import select

from procomp_pay.domain.closing import Step
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, NotFound
from procomp_pay.domain.operators import ApprovalAction, ApprovalRequest, Right, Role
from procomp_pay.domain.payouts import BalanceLine
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.archive import archive
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.verify import Flaw
from procomp_pay.services.closing import close_day
from procomp_pay.services.closing.closing import CloseRequest
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance import key_rotation
from procomp_pay.services.operators import accounts, approvals
from procomp_pay.services.operators.authenticate import authenticate
from procomp_pay.services.payouts.fetch import keep_costs
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.registrations import person, search_keys
from procomp_pay.services.registrations.changes import edit_participant, remove_participant
from procomp_pay.services.registrations.participants import Details
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.audit import chain
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.closing import ClosingDay
from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.payouts import BalanceEntry
from procomp_pay.storage.models.platform import Participant, Payment, User
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.registrations import ParticipantDetail, ParticipantSearch
from procomp_pay.storage.models.schema import METADATA
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.notifications.outbox import enqueue
from procomp_pay.storage.registrations.person import ERASED, Mask
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_bill import ask

FIRST, NAME, MAIL = "Тимур Секретов", "Темирлан Секретов", "secretov@procomp.test"
CLUB = "Клуб Секретова"


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
    await environment.sql("""UPDATE "User" SET email = :mail, name = :name""", mail=MAIL, name=NAME)
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
    await environment.maintain()
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
    await environment.sql("UPDATE pay_audit_entry SET note = '[erased]' WHERE action = 'participant_edited'")
    report = await audit_verify.verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.EDITED]


async def erased(environment: ServiceEnvironment) -> Opening:
    opened = await paid(environment)
    done = await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    report = await audit_verify.verify(environment.ctx)
    assert (report.findings, report.erased) == ([], done.entries)
    assert done.entries > 0
    return opened


EDITED = "UPDATE pay_audit_entry SET note = :note WHERE action = 'participant_edited'"


async def test_what_was_erased_cannot_be_changed_afterwards(environment: ServiceEnvironment) -> None:
    opened = await erased(environment)
    await environment.sql(EDITED, note="[erased] may have it for nothing")
    report = await audit_verify.verify(environment.ctx)
    assert [(finding.flaw, finding.detail) for finding in report.findings] == [
        (Flaw.EDITED, "it was erased, and what is left of it was changed since")
    ]
    with pytest.raises(ManualReviewRequired, match="nothing was erased"):
        await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)


@pytest.mark.parametrize("how", ["bare", "digests", "copied"])
async def test_a_forged_erasure_hides_nothing(environment: ServiceEnvironment, how: str) -> None:
    """Whoever can write to the database alone knows no key: an entry of the right hashes is not enough."""
    opened = await (paid if how == "bare" else erased)(environment)
    await environment.sql(EDITED, note="[erased] may have it for nothing")
    changed = next(row for row in await environment.rows(AuditEntry) if row.action == "participant_edited")
    after: dict[str, Any] = {"erased": [changed.seq]}
    if how != "bare":
        true = next(row for row in await environment.rows(AuditEntry) if row.action == chain.PERSON_ERASED)
        digests = {str(changed.seq): chain.entry_hash(changed)} if how == "digests" else {}
        proof = true.after["proof"]
        after["proof"] = proof | {"sha256": proof["sha256"] | digests}
    forged = chain.AuditRecord(actor="x", source=CLERK.source, action=chain.PERSON_ERASED, after=after)
    async with environment.ctx.db.writing() as session:
        made = await chain.append(session, opened.view.payment_id, forged, environment.now())
    report = await audit_verify.verify(environment.ctx)
    assert {finding.seq for finding in report.findings} == {changed.seq, made.seq}
    with pytest.raises(ManualReviewRequired, match="nothing was erased"):
        await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)


async def test_a_second_erasure_keeps_what_the_first_one_proved(environment: ServiceEnvironment) -> None:
    opened = await erased(environment)
    before = (await audit_verify.verify(environment.ctx)).erased
    await environment.sql("""UPDATE "Participant" SET "fullName" = 'injured'""")
    await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    report = await audit_verify.verify(environment.ctx)
    assert (report.findings, report.erased) == ([], before)
    await environment.sql(EDITED, note="[erased] may have it for nothing")
    assert not (await audit_verify.verify(environment.ctx)).is_sound


async def test_erasures_are_signed_again_when_the_key_is_changed(environment: ServiceEnvironment) -> None:
    old, new = new_key(), new_key()
    environment.ctx = replace(environment.ctx, keyring=Keyring([old]))
    await erased(environment)
    both = replace(environment.ctx, keyring=Keyring([new, old]))
    alone = replace(environment.ctx, keyring=Keyring([new]))
    assert not (await audit_verify.verify(alone)).is_sound
    assert (await key_rotation.count(both)).old > 0
    done = await key_rotation.rotate(both)
    assert (done.left.old, done.left.unreadable) == (0, 0)
    assert (await key_rotation.rotate(both)).rotated == 0
    report = await audit_verify.verify(alone)
    assert report.findings == []
    assert report.erased > 0
    await environment.sql(EDITED, note="[erased] may have it for nothing")
    assert not (await audit_verify.verify(alone)).is_sound


async def test_erased_entries_in_an_archive_stay_proven(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    environment.ctx = replace(environment.ctx, keyring=Keyring([old]))
    opened = await erased(environment)
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured", usd("20")), CLERK)
    await environment.deliver()
    await environment.maintain()
    await seal(environment.ctx, "aigerim")
    environment.later(100 * 86_400.0)
    archived = await archive(environment.ctx, tmp_path, CLERK, keep=timedelta(days=90))
    assert archived.cut > 0
    environment.ctx = replace(environment.ctx, keyring=Keyring([new, old]))
    assert (await key_rotation.rotate(environment.ctx)).left.old == 0
    environment.ctx = replace(environment.ctx, keyring=Keyring([new]))
    report = await audit_verify.verify(environment.ctx, archives=tmp_path)
    assert (report.findings, report.archives) == ([], 1)
    assert report.erased > (await audit_verify.verify(environment.ctx)).erased
    planned = await person.plan(environment.ctx, opened.view.participant_id)
    assert archived.made is not None
    assert planned.archives == [archived.made.file]
    later = await environment.start(await environment.participant(full_name="Айша"))
    await environment.sql("UPDATE pay_payment_detail SET provider_open = false")
    assert (await person.plan(environment.ctx, later.view.participant_id)).archives == []


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
    await environment.sql(statement)
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


async def type_phone(ctx: AppContext, phone: str) -> None:
    """Store the phone number that the payer of the only payment typed."""
    async with ctx.db.writing() as session:
        [row] = (await session.exec(select(PaymentDetail))).all()
        row.phone_enc = ctx.keyring.seal(phone.encode())


async def paid_for_another(environment: ServiceEnvironment, name: str) -> tuple[str, str, str]:
    """Pay for one participant of a tournament; return them, another one, and the payment, to be moved."""
    former = await environment.participant(full_name=name)
    other = await environment.participant(full_name="Dias Omarov", tournament_id=f"t-{former}")
    opened = await environment.start(former, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    return former, other, opened.view.payment_id


async def test_the_export_has_no_changes_of_a_payments_former_participant(
    environment: ServiceEnvironment,
) -> None:
    ctx = environment.ctx
    former, other, payment_id = await paid_for_another(environment, FIRST)
    await edit_participant(ctx, former, CLERK, name=NAME, details=Details.read(CLUB, None, None, None))
    await move_payment(ctx, payment_id, other, CLERK, reason="the brother", former_id=former)
    await edit_participant(ctx, other, CLERK, category="-99")
    document = await person.export(ctx, other)
    edits = [row for row in document["audit"] if row["action"] == "participant_edited"]
    assert [row["after"]["category"] for row in edits] == ["-99"]
    shown = json.dumps(document, ensure_ascii=False, default=str)
    assert CLUB not in shown
    assert NAME not in shown


async def test_the_trail_of_a_payment_that_was_moved_forgets_the_former_participant(
    environment: ServiceEnvironment,
) -> None:
    ctx = environment.ctx
    former, other, payment_id = await paid_for_another(environment, FIRST)
    await edit_participant(ctx, former, CLERK, name=NAME, details=Details.read(CLUB, None, None, None))
    await move_payment(ctx, payment_id, other, CLERK, reason=f"for {NAME}", former_id=former)
    await edit_participant(ctx, other, CLERK, details=Details.read("Samruk", None, None, None))

    async def trail() -> str:
        async with ctx.db.reading() as session:
            entries = await chain.entries(session, payment_id)
        rows = [(entry.before, entry.after, entry.note) for entry in entries]
        return json.dumps(rows, ensure_ascii=False, default=str)

    assert NAME in json.dumps((await person.export(ctx, former))["audit"], ensure_ascii=False, default=str)
    # the new participant's erasure leaves the former one's entries, and the other way round
    await environment.deliver()
    await environment.maintain()
    await person.erase(ctx, other, CLERK, with_platform_rows=False)
    assert CLUB in await trail()
    assert "Samruk" not in await trail()
    await person.erase(ctx, former, CLERK, with_platform_rows=False)
    left = await trail()
    assert not [word for word in (FIRST, NAME, CLUB) if word in left]
    assert (await audit_verify.verify(ctx, payment_id)).is_sound


async def test_decided_discrepancies_of_a_payment_that_was_moved_forget_the_former_participant(
    environment: ServiceEnvironment,
) -> None:
    ctx = environment.ctx
    former, other, payment_id = await paid_for_another(environment, NAME)
    now = ctx.clock()
    decided = Discrepancy(
        id="d1", fingerprint="d1", kind="AMOUNT_MISMATCH", payment_id=payment_id, detail={"who": NAME},
        state=DiscrepancyState.RESOLVED, opened_at=now, last_seen_at=now, note=f"{NAME} says so",
    )  # fmt: skip
    async with ctx.db.writing() as session:
        session.add(decided)
    await move_payment(ctx, payment_id, other, CLERK, reason="the wrong child", former_id=former)
    await environment.deliver()
    await environment.maintain()
    await person.erase(ctx, former, CLERK, with_platform_rows=True)
    left = [(row.detail, row.note) for row in await environment.rows(Discrepancy)]
    assert left == [({"who": ERASED}, f"{ERASED} says so")]


@pytest.mark.parametrize("renamed", [False, True])
async def test_a_moved_payment_is_found_when_the_move_is_old_enough_for_an_archive(
    environment: ServiceEnvironment, tmp_path: Path, renamed: bool
) -> None:
    ctx, phone = environment.ctx, "+77011234567"
    former, other, payment_id = await paid_for_another(environment, FIRST)
    await type_phone(ctx, phone)
    if renamed:
        await edit_participant(ctx, former, CLERK, name=NAME)
    await move_payment(ctx, payment_id, other, CLERK, reason="the brother", former_id=former)
    await refund(ctx, RefundCommand(payment_id, f"{FIRST} is injured", usd("20")), CLERK)
    await environment.deliver()
    await environment.maintain()
    await seal(ctx, "aigerim")
    environment.later(100 * 86_400.0)
    archived = await archive(ctx, tmp_path, CLERK, keep=timedelta(days=90))
    assert archived.made is not None
    assert archived.cut > 0
    # the number that the former one typed is not the new one's
    theirs = await person.export(ctx, other)
    shown = json.dumps(theirs, ensure_ascii=False, default=str)
    assert theirs["archives"] == [archived.made.file]
    assert phone[-7:] not in shown  # four digits are in some hash
    document = await person.export(ctx, former)
    assert [each["payment_id"] for each in document["moved_payments"]] == [payment_id]
    assert document["archives"] == [archived.made.file]
    done = await person.erase(ctx, former, CLERK, with_platform_rows=True)
    assert done.archives == [archived.made.file]
    left = await everything(environment)
    assert [word for word in (FIRST, NAME) if word in left] == []
    assert not re.search(rf"(?<!\w){phone[-4:]}(?!\w)", left), "also masked; random ids have such digits"
    assert (await audit_verify.verify(ctx, archives=tmp_path)).is_sound


async def test_a_removed_participant_is_found_by_the_payment_that_was_moved(
    environment: ServiceEnvironment,
) -> None:
    ctx, phone = environment.ctx, "+77011234567"
    former, other, payment_id = await paid_for_another(environment, FIRST)
    await type_phone(ctx, phone)
    await edit_participant(ctx, former, CLERK, name=NAME)
    await move_payment(ctx, payment_id, other, CLERK, reason=f"not {FIRST}", former_id=former)
    await environment.deliver()
    await environment.maintain()
    await remove_participant(ctx, former, CLERK)
    assert [row["payment_id"] for row in (await person.export(ctx, former))["moved_payments"]] == [payment_id]
    done = await person.erase(ctx, former, CLERK, with_platform_rows=True)
    assert done.participant_ids == [former]
    left = await everything(environment)
    assert [word for word in (FIRST, NAME) if word in left] == []
    assert not re.search(rf"(?<!\w){phone[-4:]}(?!\w)", left), "also masked; random ids have such digits"
    with pytest.raises(NotFound):
        await person.export(ctx, "nobody")


async def delete_registration(environment: ServiceEnvironment, url: str, participant_id: str) -> None:
    """Delete a registration by a program that checks no foreign keys, as others may do on SQLite."""
    delete = f"""DELETE FROM "Participant" WHERE id = '{participant_id}'"""
    if environment.ctx.db.is_sqlite():
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(delete)
    else:
        async with environment.ctx.db.writing() as session:
            connection = await session.connection()
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            await connection.execute(text(delete))


@pytest.mark.parametrize("left", [ParticipantDetail, ParticipantSearch, OutboxMessage])
async def test_what_is_left_of_a_registration_without_payments_is_found(
    environment: ServiceEnvironment, database_url: str, left: type[Row]
) -> None:
    ctx, participant = environment.ctx, await environment.participant(full_name=NAME)
    details = Details.read(CLUB, None, "87011234567", "2014")
    await edit_participant(ctx, participant, CLERK, details=details)
    await search_keys.catch_up(ctx)
    async with ctx.db.writing() as session:
        key = f"{Topic.LETTER_REMINDER}:{participant}:2026-05-01"
        letter = {"participant_id": participant}
        await enqueue(
            session, Topic.LETTER_REMINDER, letter, row_id="r1", now=environment.now(), dedup_key=key
        )
    await delete_registration(environment, database_url, participant)
    for table in {ParticipantDetail, ParticipantSearch, OutboxMessage} - {left}:
        await environment.sql(f"DELETE FROM {table.__table__.name}")  # type: ignore[attr-defined]
    assert len(await environment.rows(left)) == 1
    document = await person.export(ctx, participant)
    names = ("registration_details", "search_keys", "messages")
    assert sum(len(document[name]) for name in names) == 1
    await person.erase(ctx, participant, CLERK, with_platform_rows=False)
    assert await environment.rows(left) == []
    with pytest.raises(NotFound):
        await person.export(ctx, participant)


async def test_a_users_registration_that_the_platform_deleted_is_erased_with_them(
    environment: ServiceEnvironment, database_url: str
) -> None:
    opened = await paid(environment)
    await search_keys.catch_up(environment.ctx)
    user_id = (await environment.rows(User))[0].id
    await delete_registration(environment, database_url, opened.view.participant_id)
    done = await person.erase(environment.ctx, user_id, CLERK, with_platform_rows=True)
    assert (done.participant_ids, done.payment_ids) == (
        [opened.view.participant_id], [opened.view.payment_id],
    )  # fmt: skip
    after = (await everything(environment)).lower()
    assert [word for word in (FIRST, NAME, MAIL, CLUB, "…67") if word.lower() in after] == []


async def test_the_payers_phone_stays_with_the_payer(environment: ServiceEnvironment) -> None:
    ctx, phone = environment.ctx, "+77011234567"
    former, other, payment_id = await paid_for_another(environment, NAME)
    await type_phone(ctx, phone)
    shown = (await person.export(ctx, former))["details"]
    [kept] = [each["phone"] for each in shown]
    await move_payment(ctx, payment_id, other, CLERK, reason="the brother", former_id=former)
    new = await person.export(ctx, other)
    assert [each["payment_id"] for each in new["details"]] == [payment_id]
    assert kept not in json.dumps(new, ensure_ascii=False, default=str)
    assert (await person.export(ctx, former))["moved_payments"] == [
        {"payment_id": payment_id, "phone": kept},
    ]
    await environment.deliver()
    await environment.maintain()
    await person.erase(ctx, former, CLERK, with_platform_rows=False)
    assert [row.phone_enc for row in await environment.rows(PaymentDetail)] == [None]
    assert (await audit_verify.verify(ctx)).is_sound


async def test_reasons_of_skipped_steps_lose_the_name(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    opened = await paid(environment)
    zone = ZoneInfo("Asia/Almaty")
    day = environment.now().astimezone(zone).date()
    request = CloseRequest(Period(zone, day, day))
    closing = await close_day.begin(ctx, request, CLERK)
    for reason in (f"{NAME} looks for the receipt", "nobody", f"ask {NAME.lower()}"):
        await close_day.skip(ctx, closing, Step.SEAL, reason, CLERK)
    other = await close_day.begin(ctx, CloseRequest(Period(zone, day, day), opened.view.tournament_id), CLERK)
    await close_day.skip(ctx, other, Step.SEAL, "the sheet is enough", CLERK)
    await person.erase(ctx, opened.view.participant_id, CLERK, with_platform_rows=False)
    reasons = {row.steps["seal"]["reason"] for row in await environment.rows(ClosingDay)}
    assert reasons == {f"ask {ERASED}", "the sheet is enough"}
    entries = await environment.rows(AuditEntry)
    notes = [entry.note for entry in entries if entry.action == "closing_skipped"]
    assert sorted(notes) == sorted([
        f"{ERASED} looks for the receipt", "nobody", f"ask {ERASED}", "the sheet is enough",
    ])  # fmt: skip
    assert (await audit_verify.verify(ctx)).is_sound
    await close_day.skip(ctx, await close_day.begin(ctx, request, CLERK), Step.SEAL, "later", CLERK)
    assert (await audit_verify.verify(ctx)).is_sound
    await environment.sql("UPDATE pay_audit_entry SET note = 'x' WHERE note LIKE 'ask %'")
    assert not (await audit_verify.verify(ctx)).is_sound


async def test_what_a_second_operator_approved_loses_the_name(environment: ServiceEnvironment) -> None:
    old, new, namesake = new_key(), new_key(), NAME.partition(" ")[0]
    ctx = environment.ctx = replace(environment.ctx, keyring=Keyring([old]))
    opened = await paid(environment)
    await accounts.add(ctx, namesake, Role.ADMIN, by="root", pin="correct horse")
    await accounts.add(ctx, "dana", Role.FINANCE, by="root", pin="404142")
    await accounts.set_secret(ctx, "dana", by="dana", pin="258014")
    first = await authenticate(ctx, "dana", "258014", need=Right.FINANCE)
    second = await authenticate(ctx, namesake, "correct horse", need=Right.FINANCE)
    subject = {"payment": opened.view.payment_id, "reason": f"{NAME} paid in cash, {MAIL}"}
    request = ApprovalRequest(ApprovalAction.OVERRIDE, subject, {"KZT": Decimal(9)}, Right.DESK)
    with pytest.raises(ManualReviewRequired, match="waits for it"):
        await approvals.approved(ctx, first, request)
    [waiting] = await approvals.unexpired(ctx)
    await approvals.approve(ctx, second, waiting.approval_id, waiting.content)
    await approvals.approve_now(ctx, first, request, second.name, "correct horse")
    exported = await person.export(ctx, opened.view.participant_id)
    assert [row["id"] for row in exported["approvals"]] == [waiting.approval_id]
    await environment.sql("""UPDATE "User" SET name = :name""", name=namesake)  # as the operator's
    await person.erase(ctx, opened.view.participant_id, CLERK, with_platform_rows=True)
    after = (await everything(environment)).lower()
    assert [word for word in (FIRST, NAME, MAIL) if word.lower() in after] == []
    assert {view.name for view in await accounts.many(ctx)} == {second.name, "dana"}
    chains = [row for row in await environment.rows(AuditEntry) if row.payment_id.startswith("operator:")]
    assert {row.after["name"] for row in chains if row.action == "operator_added"} == {second.name, "dana"}
    assert {row.after["requested_by"] for row in chains if row.action == "approved"} == {"dana"}
    assert (await audit_verify.verify(ctx)).is_sound
    assert await approvals.unexpired(ctx) == []  # it was for another text
    await key_rotation.rotate(replace(ctx, keyring=Keyring([new, old])))
    assert (await audit_verify.verify(replace(ctx, keyring=Keyring([new])))).is_sound


async def test_a_line_of_a_payout_loses_the_name(
    environment: ServiceEnvironment,
) -> None:
    opened, now = await paid(environment), environment.now()
    line = BalanceLine(
        LineKind.PAYMENT, "txn_1", "charge", Decimal(50), Decimal(2), Decimal(48), "USD", now,
        description=f"Кубок: {NAME}", payment_refs=(str(opened.view.provider_ref),),
    )  # fmt: skip
    await keep_costs(environment.ctx, [line])
    exported = await person.export(environment.ctx, opened.view.participant_id)
    assert [row["description"] for row in exported["balance_entries"]] == [f"Кубок: {NAME}"]
    await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=False)
    [entry] = await environment.rows(BalanceEntry)
    assert entry.description == f"Кубок: {ERASED}"


async def test_a_note_about_money_of_no_payment_loses_the_name(environment: ServiceEnvironment) -> None:
    opened, now = await paid(environment), environment.now()
    async with environment.ctx.db.writing() as session:
        session.add(
            Discrepancy(
                id="d1",
                fingerprint="f1",
                kind="MISSING_LOCALLY",
                detail={},
                state=DiscrepancyState.RESOLVED,
                opened_at=now,
                last_seen_at=now,
                resolution="accept",
                note=f"it was {NAME}'s",
            )
        )
    await person.erase(environment.ctx, opened.view.participant_id, CLERK, with_platform_rows=False)
    assert [row.note for row in await environment.rows(Discrepancy)] == [f"it was {ERASED}'s"]


async def test_a_refusal_in_the_trail_of_anothers_payment_loses_the_name(
    environment: ServiceEnvironment,
) -> None:
    """Earlier versions named there whose payment a number had settled."""
    ctx, opened = environment.ctx, await paid(environment)
    other = await environment.start(await environment.participant(full_name="Dias Omarov"), "kaspi_qr")
    deleted = "gone"
    for chain_id in (other.view.payment_id, deleted):
        async with ctx.db.writing() as session:
            refusal = CLERK.record(
                "verify_refused", note=f"Operation 1 has settled another payment: {NAME}, for Dias Omarov"
            )
            await chain.append(session, chain_id, refusal, environment.now())
    await person.erase(ctx, opened.view.participant_id, CLERK, with_platform_rows=False)
    notes = [row.note for row in await environment.rows(AuditEntry) if row.action == "verify_refused"]
    assert notes == [f"Operation 1 has settled another payment: {ERASED}, for Dias Omarov"] * 2
    assert (await audit_verify.verify(ctx, other.view.payment_id)).is_sound


async def test_who_wants_no_reminders_gets_none_after_the_erasure(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment)
    participant = opened.view.participant_id
    await edit_participant(environment.ctx, participant, CLERK, details=Details(reminders=False))
    await person.erase(environment.ctx, participant, CLERK, with_platform_rows=False)
    [detail] = await environment.rows(ParticipantDetail)
    assert detail.no_reminders
    assert (detail.club, detail.coach, detail.phone_enc, detail.birth_year) == (None, None, None, None)
    await edit_participant(environment.ctx, participant, CLERK, details=Details(reminders=True))
    await person.erase(environment.ctx, participant, CLERK, with_platform_rows=False)
    assert await environment.rows(ParticipantDetail) == []


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
    await environment.maintain()
    await environment.sql("UPDATE pay_outbox SET state = 'skipped'")
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
