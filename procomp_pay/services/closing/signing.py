"""Sign a day's figures. The second signature closes the day."""

from __future__ import annotations

from collections.abc import Iterable

from procomp_pay.domain.closing import (
    OPERATOR,
    SIGNATURES,
    Signature,
    Signer,
    Step,
    StepRecord,
    StepState,
    already_signed,
    of_operators,
    signed_by,
)
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.operators import Right
from procomp_pay.domain.text import N_
from procomp_pay.services.closing.closing import Closing
from procomp_pay.services.closing.record import append_entry, locked_row
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.operators.approvals import check_two
from procomp_pay.storage.closing.repository import digest
from procomp_pay.storage.database.session import AsyncSession


async def sign(ctx: AppContext, closing: Closing, signer: Signer, *, alone: bool) -> None:
    """Sign the figures as they are now. The second signature closes the day.

    :param alone: there are no operator accounts: one signature closes it, and the record says so.
    :raises ManualReviewRequired: a step is open. :raises Conflict: it is closed, or the same person signed.
    """
    if closing.figures is None:
        raise Refused(N_("Nothing was counted yet"), next_step="procomp-pay close")
    sums = closing.figures.sums()
    figures, now = digest(sums), ctx.clock()
    actor = Actor(signer.name, Source.PERSON)
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.CLOSE)
        row = await locked_row(session, closing)
        before = tuple(Signature(**each) for each in row.signatures)
        is_closed = row.closed_at is not None
        records = None if is_closed else [StepRecord.of(each) for each in row.steps.values()]
        if is_closed and of_operators(before) < SIGNATURES and not alone:
            figures, sums = before[-1].digest, row.sums  # closed by one: the second signs what was signed
        elif is_closed:
            raise already_signed(before)
        signatures = signed_by(signer, before, figures, now, records)
        if not alone:
            await _check_two(session, signer, signatures[:-1])
        row.signatures = [signature.full() for signature in signatures]
        row.sums, row.updated_at = sums, now
        dropped = [each.account for each in before if each not in signatures]
        after = {"account": signer.account, "digest": figures, "no_longer_valid": dropped}
        await append_entry(session, closing.closing_id, actor, "closing_signed", now, after)
        if row.closed_at is None and (alone or of_operators(signatures) >= SIGNATURES):
            row.closed_at = now
            after = {"digest": figures, "signatures": [each.account for each in signatures]}
            await append_entry(session, closing.closing_id, actor, "closing_closed", now, after)
        record = StepRecord(Step.SIGNATURES, StepState.DONE if row.closed_at else StepState.OPEN,
                            now.isoformat(), signer.name)  # fmt: skip
        row.steps = {**row.steps, Step.SIGNATURES.value: record.full()}
        closed_at = row.closed_at
    closing.signatures, closing.signed, closing.closed_at = signatures, sums, closed_at
    closing.steps[Step.SIGNATURES] = record


async def _check_two(session: AsyncSession, signer: Signer, signatures: Iterable[Signature]) -> None:
    """Check that who signs is nobody who may know the PIN of who has signed, or the other way round.

    :raises Forbidden: one of them gave it to the other.
    """
    for signature in signatures:
        if signature.account.startswith(OPERATOR):
            ids = [each.account.removeprefix(OPERATOR) for each in (signature, signer)]
            await check_two(session, *ids)
