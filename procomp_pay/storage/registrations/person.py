"""Read and erase what our tables hold of a person: their registrations and the payments for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import and_, col, delete, func, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.names import is_placeholder, placeholder_email
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.topics import Topic
from procomp_pay.storage.audit.chain import PAYMENT_MOVED, PERSON_ERASED
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.payouts import BalanceEntry
from procomp_pay.storage.models.platform import Participant, Payment, User
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.registrations import ParticipantDetail, ParticipantSearch
from procomp_pay.storage.models.states import DeliveryState, DiscrepancyState, EventState, OutboxState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.registrations import search_keys

#: In the place of a name, an address or a number that was erased.
ERASED = "[erased]"
#: Fields of a registration that an audit entry of its change may have, beside the name.
PERSONAL = ("email", "club", "coach", "phone", "birth_year")
#: In the place of an erased payload, as after its time.
_DROPPED = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A user with all registrations, or one registration.

    :param user: ``None`` if it has further registrations, which are somebody else's.
    :param participants: those that are not removed. :param participant_ids: with those of removed ones, of
        whom something is left.
    :param moved_payment_ids: payments that were theirs and were moved to somebody else.
    """

    user: User | None
    participants: list[Participant]
    participant_ids: list[str]
    payment_ids: list[str]
    moved_payment_ids: list[str]


async def find(session: AsyncSession, some_id: str) -> Person | None:
    """Return the person with this id of a user, or of a participant, also of one who was removed.

    The platform may delete registrations and users without us. Of a user's removed registrations, those with
    payments are known.
    """
    user = await session.get(User, some_id)
    if user is None:
        participant = await session.get(Participant, some_id)
        rows, ids = [participant] if participant is not None else [], [some_id]
        owner = participant.user_id if participant is not None else None
        if owner is not None and await _registrations(session, owner) == 1:
            user = await session.get(User, owner)
    else:
        query = select(Participant).where(Participant.user_id == user.id).order_by(col(Participant.id))
        rows = list((await session.exec(query)).all())
        ids = [row.id for row in rows]
    ids += sorted((await session.exec(_removed_of(some_id))).all())
    paid = select(PaymentDetail.payment_id).where(col(PaymentDetail.participant_id).in_(ids))
    payment_ids = sorted((await session.exec(paid)).all())
    former: Any = col(AuditEntry.before)["participant_id"].as_string()
    moves = (
        select(AuditEntry.payment_id).where(AuditEntry.action == PAYMENT_MOVED, former.in_(ids)).distinct()
    )
    moved = sorted(payment for payment in (await session.exec(moves)).all() if payment not in payment_ids)
    person = Person(user, rows, ids, payment_ids, moved)
    if user or rows or payment_ids or moved or await _has_rows(session, person):
        return person
    return None


def _removed_of(user_id: str) -> Any:
    """Return the query of a user's removed registrations that have payments."""
    participant_id = col(PaymentDetail.participant_id)
    exists = select(Participant.id).where(Participant.id == participant_id).exists()
    return (
        select(participant_id)
        .join(Payment, col(Payment.id) == col(PaymentDetail.payment_id))
        .where(Payment.user_id == user_id, ~exists)
        .distinct()
    )


async def _has_rows(session: AsyncSession, person: Person) -> bool:
    """Return whether anything but payments is left of removed registrations."""
    for table in (ParticipantDetail, ParticipantSearch):
        if await rows_of(session, table, col(table.participant_id), person.participant_ids):
            return True
    return bool(await messages(session, person))


async def _registrations(session: AsyncSession, user_id: str) -> int:
    query = select(func.count()).where(Participant.user_id == user_id)
    return int((await session.exec(query)).one())


async def rows_of(session: AsyncSession, table: Any, column: Any, ids: Collection[str]) -> list[Any]:
    """Return the rows of a table that belong to these payments or participants."""
    return list((await session.exec(select(table).where(column.in_(list(ids))))).all())


def _messages_of(person: Person) -> Any:
    """Return the condition on messages about the person."""
    reminders = [f"{Topic.LETTER_REMINDER}:{participant}:" for participant in person.participant_ids]
    return or_(
        col(OutboxMessage.payment_id).in_(person.payment_ids),
        *(col(OutboxMessage.dedup_key).startswith(key, autoescape=True) for key in reminders),
    )


async def messages(session: AsyncSession, person: Person) -> list[OutboxMessage]:
    """Return the messages about the person."""
    return list((await session.exec(select(OutboxMessage).where(_messages_of(person)))).all())


async def obstacle(session: AsyncSession, person: Person) -> tuple[str, str] | None:
    """Return what must end first, and of which payment; ``None`` if nothing is open."""
    ids = person.payment_ids
    unfinished = (
        select(OutboxMessage.payment_id)
        .join(Delivery, col(Delivery.message_id) == col(OutboxMessage.id))
        .where(Delivery.state == DeliveryState.WAITING, col(OutboxMessage.payment_id).in_(ids))
    )
    checks: tuple[tuple[str, Any], ...] = (
        ("can still be paid", _of(PaymentDetail, ids, col(PaymentDetail.provider_open))),
        ("has a refund under way", _of(Refund, ids, Refund.state == RefundState.PENDING)),
        ("has an open discrepancy", _of(Discrepancy, ids, Discrepancy.state == DiscrepancyState.OPEN)),
        (
            "has an event that is not handled",
            _of(WebhookEvent, ids, col(WebhookEvent.state).in_((EventState.PENDING, EventState.DEAD))),
        ),
        ("has a message to be sent", _of(OutboxMessage, ids, OutboxMessage.state == OutboxState.WAITING)),
        ("has a message to be sent", unfinished),
    )
    for what, query in checks:
        if (payment_id := (await session.exec(query.limit(1))).first()) is not None:
            return what, payment_id
    return None


def _of(table: Any, payment_ids: list[str], condition: Any) -> Any:
    return select(table.payment_id).where(col(table.payment_id).in_(payment_ids), condition)


#: The ends of the keys whose values the books are read by: no text of a person's. An operator's name stays.
_NO_TEXT = re.compile(
    r"(_by|id|ids|ref|status|state|currency|channel|method|kind|number|code|amount|provider|source|topic)$",
    re.IGNORECASE,
)


class Mask:
    """Replace the words by which a person is known, in texts and documents, whatever their case.

    Whole words alone: "Али" is no part of "реализация". Ids, statuses and the like stay, whatever a
    user calls himself.
    """

    def __init__(self, words: Collection[str | None]) -> None:
        known = sorted({word for word in words if word and len(word) > 2}, key=len, reverse=True)
        words_of_any = "|".join(map(re.escape, known))
        self._pattern = re.compile(rf"(?<!\w)(?:{words_of_any})(?!\w)", re.IGNORECASE) if known else None

    def __call__(self, value: Any) -> Any:
        """Return the value without these words."""
        if isinstance(value, str):
            return self._pattern.sub(ERASED, value) if self._pattern is not None else value
        if isinstance(value, dict):
            return {key: item if _NO_TEXT.search(key) else self(item) for key, item in value.items()}
        return [self(item) for item in value] if isinstance(value, list) else value


async def erase(
    session: AsyncSession,
    person: Person,
    mask: Mask,
    *,
    with_platform_rows: bool,
    paid_for: Collection[str] = (),
) -> None:
    """Erase everything about a person but money and what the books need.

    Payments, refunds, operation numbers and audit entries stay; their texts lose the person's names.

    :param paid_for: payments that have the person's phone number, also those that were moved to others.
    """
    ids = person.payment_ids
    of_payer = col(PaymentDetail.payment_id).in_(list(paid_for))
    await session.exec(update(PaymentDetail).where(of_payer).values(phone_enc=None))
    await session.exec(
        update(PaymentDetail)
        .where(col(PaymentDetail.payment_id).in_(ids))
        .values(phone_enc=None, client_secret_enc=None, qr_token_enc=None, return_url=None, payment_url=None)
    )
    # Kaspi may repeat a `pay` at any time: its event holds the answer to repeat, and no name
    dropped = (col(WebhookEvent.payment_id).in_(ids), col(WebhookEvent.provider) != "kaspi_bill")
    await session.exec(update(WebhookEvent).where(*dropped).values(payload_enc=_DROPPED))
    old = [message.id for message in await messages(session, person)]
    await session.exec(delete(Delivery).where(col(Delivery.message_id).in_(old)))
    await session.exec(delete(OutboxMessage).where(col(OutboxMessage.id).in_(old)))
    which = col(ParticipantDetail.participant_id).in_(person.participant_ids)
    await session.exec(delete(ParticipantDetail).where(which, ~_wants_no_reminders(person)))
    nothing = dict.fromkeys(("club", "coach", "phone_enc", "birth_year"))
    await session.exec(update(ParticipantDetail).where(which).values(**nothing))
    await search_keys.forget(session, person.participant_ids)
    ever = ids + person.moved_payment_ids  # what a clerk typed may name them there, too
    for refund in await rows_of(session, Refund, col(Refund.payment_id), ever):
        refund.reason = mask(refund.reason)
    for row in await rows_of(session, Discrepancy, col(Discrepancy.payment_id), ever):
        row.detail, row.note = mask(row.detail), mask(row.note)
    of_none = select(Discrepancy).where(
        col(Discrepancy.payment_id).is_(None), col(Discrepancy.note).is_not(None)
    )
    for row in (await session.exec(of_none)).all():  # a clerk may have found out whose money it was
        row.note = mask(row.note)
    for entry in await rows_of(session, BalanceEntry, col(BalanceEntry.payment_id), ever):
        entry.description = mask(entry.description)
    for payment in await rows_of(session, Payment, col(Payment.id), ids):
        payment.meta, payment.failure_reason = mask(payment.meta), mask(payment.failure_reason)
    if with_platform_rows:
        for participant in person.participants:
            participant.full_name = ERASED
        if person.user is not None:
            person.user.name, person.user.email = ERASED, placeholder_email(person.user.id)
    await session.flush()


def _wants_no_reminders(person: Person) -> Any:
    """Return the condition on details that still count while the platform has the e-mail: a person who asked
    for no reminders must not get one because they were erased."""
    registered = [participant.id for participant in person.participants]
    return and_(
        col(ParticipantDetail.participant_id).in_(registered), col(ParticipantDetail.no_reminders).is_(True)
    )


async def missing_grant(session: AsyncSession) -> str | None:
    """Return the GRANT that lets our role change what ``--with-platform-rows`` erases; ``None`` if it may."""
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        return None
    query = """
        SELECT quote_ident(current_user)
        WHERE NOT (has_column_privilege(:table, :name, 'UPDATE')
            AND has_column_privilege(:table, :email, 'UPDATE'))
    """
    users = User.metadata.tables["User"]
    table, names = f'"{users.name}"', {key: users.c[key].name for key in ("name", "email")}
    if users.schema:
        table = f'"{users.schema}".{table}'
    role = (await connection.execute(text(query), {"table": table, **names})).scalar()
    return None if role is None else f"GRANT UPDATE ({', '.join(names.values())}) ON {table} TO {role};"


async def mask_audit(
    session: AsyncSession, entries: Sequence[AuditEntry], mask: Mask, own: Collection[int | None]
) -> list[int]:
    """Take the person's names out of audit entries, whose hashes stay; return their numbers.

    Records of erasures have no names.

    :param own: the ids of the entries about this person alone, which lose club, phone and the like too.
    """
    changed: list[int] = []
    for entry in entries:
        if entry.action == PERSON_ERASED:
            continue
        values = {name: mask(getattr(entry, name)) for name in ("before", "after", "note")}
        if entry.action == "participant_edited" and entry.id in own:
            values |= {name: _without_details(values[name]) for name in ("before", "after")}
        if any(values[name] != getattr(entry, name) for name in values):
            await session.exec(update(AuditEntry).where(col(AuditEntry.id) == entry.id).values(**values))
            await session.refresh(entry)
            changed.append(entry.seq)
    return changed


def _without_details(side: Any) -> Any:
    if not isinstance(side, dict):
        return side
    return side | {name: ERASED for name in PERSONAL if side.get(name) is not None}


def known_words(person: Person, entries: Sequence[AuditEntry], further: Collection[str]) -> set[str]:
    """Return the names, addresses and numbers by which the person is or was known.

    :param further: phone numbers, and names that are known from elsewhere.
    """
    words = {participant.full_name for participant in person.participants} | set(further)
    if person.user is not None:
        words |= {person.user.name} | ({person.user.email} - {""})
        words = {word for word in words if not is_placeholder(word or "")}
    for entry in entries:
        if entry.action == "participant_edited":
            sides = (side for side in (entry.before, entry.after) if isinstance(side, dict))
            words |= {str(side["full_name"]) for side in sides if side.get("full_name")}
    return {word for word in words if word and word != ERASED}
