"""Export and erase what is kept about a person."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from procomp_pay.domain.errors import ConfigurationError, Conflict, ManualReviewRequired, NotFound
from procomp_pay.domain.operators import Right
from procomp_pay.domain.redact import redact
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import archive, erasure
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit.chain import CLOSING_CHAIN, OPERATOR_CHAIN, PAYMENT_MOVED
from procomp_pay.storage.closing import repository as closings
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.payouts import BalanceEntry
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.registrations import ParticipantDetail, ParticipantSearch
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.operators import repository as operators
from procomp_pay.storage.payments.repository import lock_payment
from procomp_pay.storage.registrations import person as store
from procomp_pay.storage.registrations.person import Mask, Person

log = logging.getLogger(__name__)

#: Columns that are secrets of a payment, or ciphertext that is shown in clear elsewhere.
_HIDDEN = ("client_secret_enc", "qr_token_enc", "phone_enc", "payload_enc")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure concerns.

    :param user_id: ``None`` if the user has other registrations.
    :param archives: the archives of the audit trail that may hold names: files, which are not changed.
    :param entries: the number of audit entries that lost names.
    """

    user_id: str | None
    participant_ids: list[str]
    payment_ids: list[str]
    events: int
    messages: int
    archives: list[str]
    entries: int = 0

    def full(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


async def export(ctx: AppContext, person_id: str) -> dict[str, Any]:
    """Return everything that is kept about a person, without secrets, and the names of the archives of the
    audit trail that may have more.

    :param person_id: of a participant, or of a user for all registrations.
    :raises NotFound: nobody has this id.
    """
    async with ctx.db.reading() as session:
        person = await _find(session, person_id)
        of_payments = {
            "payments": (Payment, "id"),
            "details": (PaymentDetail, "payment_id"),
            "refunds": (Refund, "payment_id"),
            "discrepancies": (Discrepancy, "payment_id"),
            "events": (WebhookEvent, "payment_id"),
            "balance_entries": (BalanceEntry, "payment_id"),
            "audit": (AuditEntry, "payment_id"),
        }
        rows: dict[str, list[Any]] = {
            name: await store.rows_of(session, table, getattr(table, column), person.payment_ids)
            for name, (table, column) in of_payments.items()
        }
        of_moved = await store.rows_of(session, AuditEntry, AuditEntry.payment_id, person.moved_payment_ids)
        trails = rows["audit"] + of_moved
        rows["audit"] = _own(trails, person)
        details = await _details(session, person)
        rows["registrations"] = person.participants
        rows["registration_details"] = details
        rows["search_keys"] = await _search_keys(session, person)
        rows["messages"] = await store.messages(session, person)
        rows["approvals"] = await operators.approvals_with(
            session, lambda content: content["subject"].get("payment") in person.payment_ids
        )
        moved = await store.rows_of(
            session, PaymentDetail, PaymentDetail.payment_id, person.moved_payment_ids
        )
        of_others = {row.payment_id for row in rows["details"] if not _is_payer(person, row, trails)}
        archives = await archive.files_of(session, person.payment_ids + person.moved_payment_ids)
    document: dict[str, Any] = {"user": _document(ctx, person.user) if person.user else None}
    document |= {name: [_document(ctx, row) for row in found] for name, found in rows.items()}
    for detail in document["details"]:
        if detail["payment_id"] in of_others:
            detail.pop("phone", None)
    document["moved_payments"] = [
        {name: value for name, value in _document(ctx, row).items() if name in ("payment_id", "phone")}
        for row in moved
        if _is_payer(person, row, trails)
    ]
    document["archives"] = archives
    return document


def _is_payer(person: Person, detail: PaymentDetail, entries: list[AuditEntry]) -> bool:
    """Return whether the phone number of a payment is the person's: that of its first participant, who stays
    the payer when it is moved to another one."""
    moves = [
        entry for entry in entries if entry.action == PAYMENT_MOVED and entry.payment_id == detail.payment_id
    ]
    if not moves:
        return True
    first = min(moves, key=lambda entry: entry.seq)
    return (first.before or {}).get("participant_id") in person.participant_ids


def _own(entries: list[AuditEntry], person: Person) -> list[AuditEntry]:
    """Return the entries about the person. A payment that was moved had another participant before, whose
    changes are in its trail too: of a payment that is theirs now, changes of somebody else's registration
    are left out; of one that was moved away, everything since."""
    moves = sorted((entry for entry in entries if entry.action == PAYMENT_MOVED), key=lambda entry: entry.seq)

    def is_own(entry: AuditEntry) -> bool:
        is_theirs_now = entry.payment_id not in person.moved_payment_ids
        if is_theirs_now and entry.action != "participant_edited":
            return True
        later = (move for move in moves if move.payment_id == entry.payment_id and move.seq >= entry.seq)
        move = next(later, None)
        if move is None:
            return is_theirs_now
        return (move.before or {}).get("participant_id") in person.participant_ids

    return [entry for entry in entries if is_own(entry)]


async def erase(ctx: AppContext, person_id: str, actor: Actor, *, with_platform_rows: bool) -> Erasure:
    """Erase a person: see :func:`procomp_pay.storage.registrations.person.erase`.

    :param with_platform_rows: the platform's rows too, of an install that stands alone.
    :raises NotFound: nobody has this id. :raises Conflict: something is still open.
    :raises ManualReviewRequired: an audit trail is not intact, which an erasure would hide.
    :raises ConfigurationError: our role may not change the platform's rows.
    """
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.ADMIN)  # it was asked about twice meanwhile
        if with_platform_rows and (grant := await store.missing_grant(session)) is not None:
            raise ConfigurationError(
                'The user of DATABASE_URL may not change names and e-mails in "User": nothing was erased',
                next_step=f"as the owner of the table, in psql: {grant}",
            )
        found = await _find(session, person_id)
        for payment_id in sorted(found.payment_ids + found.moved_payment_ids):
            await lock_payment(session, payment_id)
        person = await _find(session, person_id)  # as it is under the locks
        planned = await _plan(session, person)
        ids = person.payment_ids + person.moved_payment_ids
        trails = [await _trail(ctx, session, payment_id) for payment_id in ids]
        every = [entry for trail in trails for entry in trail]
        own = _own(every, person)
        details = await store.rows_of(session, PaymentDetail, PaymentDetail.payment_id, ids)
        paid = [row for row in details if _is_payer(person, row, every)]
        mask = await _mask(ctx, session, person, own, paid)
        await store.erase(
            session,
            person,
            mask,
            with_platform_rows=with_platform_rows,
            paid_for=[row.payment_id for row in paid],
        )
        entries = 0
        for trail in trails:
            erased = await store.mask_audit(session, trail, mask, {entry.id for entry in own})
            if not erased and trail[0].payment_id in person.moved_payment_ids:
                continue
            entries += len(erased)
            by = (actor.name, actor.source)
            await erasure.record(session, ctx.keyring, trail, by=by, erased=erased, at=ctx.clock())
        entries += await _erase_from_closings(ctx, session, mask, actor)
        entries += await _erase_from_others(ctx, session, mask, actor)
    log.warning("person %s was erased by %s", person_id, actor.name)
    return replace(planned, entries=entries)


async def _erase_from_closings(ctx: AppContext, session: AsyncSession, mask: Mask, actor: Actor) -> int:
    """Take the person's names out of the reasons for which steps of closings were skipped; return how many
    audit entries lost them."""
    count = 0
    for closing_id in await closings.with_reasons(session, lambda reason: mask(reason) != reason):
        row = await closings.locked(session, closing_id)
        row.steps = {
            name: step | {"reason": mask(step.get("reason"))} for name, step in dict(row.steps).items()
        }
        count += await _erase_from_trail(ctx, session, CLOSING_CHAIN + closing_id, mask, actor)
    return count


async def _erase_from_others(ctx: AppContext, session: AsyncSession, mask: Mask, actor: Actor) -> int:
    """Take the person's names out of the reasons and notes that a second operator approved, and out of the
    trails of others' payments; return how many audit entries lost them. An approval that still held ends: it
    was of another text."""

    def has_names(content: Any) -> bool:
        return bool(mask(content) != content)

    for row in await operators.approvals_with(session, has_names):
        row.content, row.expires_at = mask(row.content), min(row.expires_at, ctx.clock())
    count = 0
    for chain in await erasure.of_others(session, has_names):
        if chain.startswith(OPERATOR_CHAIN):
            await operators.by_id(session, chain.removeprefix(OPERATOR_CHAIN), lock=True)
        else:
            with suppress(NotFound):  # a deleted payment: nobody else appends to its trail
                await lock_payment(session, chain)
        count += await _erase_from_trail(ctx, session, chain, mask, actor)
    return count


async def _erase_from_trail(
    ctx: AppContext, session: AsyncSession, chain: str, mask: Mask, actor: Actor
) -> int:
    """Take the person's names out of a chain that is not theirs, and is locked; return how many entries lost
    them. Operators and others keep their names, whatever these have in common with the person's."""
    trail = await _trail(ctx, session, chain)
    is_any = chain.startswith(CLOSING_CHAIN)
    concerned = [entry for entry in trail if is_any or entry.action in erasure.OF_ANYBODY]
    erased = await store.mask_audit(session, concerned, mask, ())
    by = (actor.name, actor.source)
    await erasure.record(session, ctx.keyring, trail, by=by, erased=erased, at=ctx.clock())
    return len(erased)


async def plan(ctx: AppContext, person_id: str) -> Erasure:
    """Return what an erasure would concern, without changing anything.

    :raises NotFound, Conflict: as :func:`erase`.
    """
    async with ctx.db.reading() as session:
        return await _plan(session, await _find(session, person_id))


async def _plan(session: AsyncSession, person: Person) -> Erasure:
    if (obstacle := await store.obstacle(session, person)) is not None:
        what, payment_id = obstacle
        raise Conflict(
            f"Payment {payment_id} {what}: nothing was erased",
            next_step=f"procomp-pay status --payment {payment_id}",
        )
    events = await store.rows_of(session, WebhookEvent, WebhookEvent.payment_id, person.payment_ids)
    messages = await store.messages(session, person)
    user_id = person.user.id if person.user else None
    archives = await archive.files_of(session, person.payment_ids + person.moved_payment_ids)
    ids = user_id, person.participant_ids, person.payment_ids
    return Erasure(*ids, len(events), len(messages), archives)


async def _find(session: AsyncSession, person_id: str) -> Person:
    person = await store.find(session, person_id)
    if person is None:
        raise NotFound(
            f"No participant or user has the id {person_id[:64]!r}",
            next_step="procomp-pay participant list --search NAME",
        )
    return person


async def _details(session: AsyncSession, person: Person) -> list[ParticipantDetail]:
    column = ParticipantDetail.participant_id
    return await store.rows_of(session, ParticipantDetail, column, person.participant_ids)


async def _search_keys(session: AsyncSession, person: Person) -> list[ParticipantSearch]:
    column = ParticipantSearch.participant_id
    return await store.rows_of(session, ParticipantSearch, column, person.participant_ids)


async def _mask(
    ctx: AppContext,
    session: AsyncSession,
    person: Person,
    entries: list[AuditEntry],
    payments: list[PaymentDetail],
) -> Mask:
    """Return the mask for a person's names and numbers.

    :param entries: about the person. :param payments: that have the person's phone number.
    """
    sealed = [row.phone_enc for row in payments]
    sealed += [row.phone_enc for row in await _details(session, person)]
    words = [ctx.keyring.unseal(phone).decode() for phone in sealed if phone]
    words += [row.full_name for row in await _search_keys(session, person)]  # also of a removed one
    return Mask(store.known_words(person, entries, words))


async def _trail(ctx: AppContext, session: AsyncSession, payment_id: str) -> list[AuditEntry]:
    """Return a payment's audit trail.

    :raises ManualReviewRequired: an entry was changed, or there is none.
    """
    entries = await audit.entries(session, payment_id)
    known = erasure.of(ctx.keyring, entries)
    if not entries or known.unproven() or known.unsigned:
        raise ManualReviewRequired(
            f"The audit trail of {payment_id} is not intact: nothing was erased",
            next_step=f"procomp-pay audit verify {payment_id}",
        )
    return entries


def _document(ctx: AppContext, row: Any) -> dict[str, Any]:
    """Return a row as a document: phone numbers and payloads in clear, secrets hidden."""
    content = {name: value for name, value in row.model_dump().items() if name not in _HIDDEN}
    for name in ("phone_enc", "payload_enc"):
        if sealed := getattr(row, name, None):
            content[name.removesuffix("_enc")] = redact(ctx.keyring.unseal(sealed).decode())
    return {name: instant(value) if isinstance(value, datetime) else value for name, value in content.items()}
