"""Approval by a second operator: on the spot by their PIN, or of a request that waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from procomp_pay.domain.errors import Conflict, Forbidden, ManualReviewRequired, NotFound
from procomp_pay.domain.operators import (
    APPROVAL_TIME,
    ApprovalRequest,
    Operator,
    Right,
    check_second,
    fingerprint,
    folded,
    in_short,
    require,
)
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.authenticate import (
    as_operator,
    authenticate,
    is_given,
    record,
    secret_given_by,
)
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.operators import Approval, OperatorAccount
from procomp_pay.storage.operators import repository


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A request for display."""

    approval_id: str
    content: dict[str, Any]
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    approved_by: str | None
    approved_at: datetime | None

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "id": self.approval_id,
            **in_short(self.content),
            "requested_by": self.requested_by,
            "requested_at": self.requested_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "approved_by": self.approved_by,
            "approved_at": self.approved_at.isoformat() if self.approved_at else None,
        }


async def approve_now(
    ctx: AppContext, operator: Operator, request: ApprovalRequest, approver: str, secret: str
) -> str:
    """Return the name of a second operator whose PIN was typed for this.

    :raises Forbidden, Unauthorized: as :func:`second_operator`.
    """
    second = await second_operator(ctx, operator, approver, secret, request.right, request.tournament_id)
    async with ctx.db.writing() as session:
        row = await repository.by_id(session, second.operator_id, lock=True)
        details: dict[str, object] = {**in_short(request.content()), "requested_by": operator.name}
        await record(ctx, session, row, audit.APPROVED, second.name, details)
    return second.name


async def second_operator(
    ctx: AppContext, operator: Operator, name: str, secret: str, right: Right, tournament_id: str | None
) -> Operator:
    """Return the second operator, whose PIN was typed.

    :param tournament_id: what it concerns; ``None`` for all, which is not for operators of some.
    :raises Forbidden: they are the first one, one of them has not the right, or may know the other's PIN.
    :raises Unauthorized: the PIN is wrong.
    """
    require(operator, right, tournament_id)
    check_second(operator.name, name)
    second = await authenticate(ctx, name, secret, need=right)
    require(second, right, tournament_id)
    async with ctx.db.reading() as session:
        await check_two(session, operator.operator_id, second.operator_id)
    return second


async def approved(ctx: AppContext, operator: Operator, request: ApprovalRequest) -> str:
    """Return who approved the operator's request; where there is none yet, make it.

    An approval holds for a day, for the same operator, the same thing and no more money. It ends when it is
    used; that of a refund of a tournament holds for its payments alone, so that one that was stopped goes on.

    :raises ManualReviewRequired: it waits for a second operator.
    :raises Forbidden: the request was changed after it was approved, or one of the two has not the right.
    """
    require(operator, request.right, request.tournament_id)
    now = ctx.clock()
    async with ctx.db.writing() as session:
        row = await repository.approval_for(session, request.subject_hash, operator.operator_id, now)
        if row is None or not request.is_covered_by(row.content):
            row = _new(ctx, operator, request, now)
            session.add(row)
            await session.flush()
        elif row.approved_by is not None:
            name = await _checked(session, row, request, operator)
            if request.is_used_once:
                row.expires_at = now
            return name
    raise ManualReviewRequired(
        N_("This needs the approval of a second operator, and waits for it as %(id)s", id=row.id),
        next_step=N_(
            "another operator types: procomp-pay operator approve %(id)s; then repeat this command", id=row.id
        ),
    )


def _new(ctx: AppContext, operator: Operator, request: ApprovalRequest, now: datetime) -> Approval:
    content = request.content()
    return Approval(
        id=ctx.new_id(),
        subject_hash=request.subject_hash,
        content=content,
        fingerprint=fingerprint(content),
        requested_by=operator.operator_id,
        requested_at=now,
        expires_at=now + APPROVAL_TIME,
    )


async def _checked(session: AsyncSession, row: Approval, request: ApprovalRequest, operator: Operator) -> str:
    """Return the approver's name, if the row is what was approved and they may still approve it."""
    if not fingerprint(row.content) == row.fingerprint == row.approved_fingerprint:
        raise Forbidden(
            N_("The request %(id)s was changed after it was approved", id=row.id),
            next_step=N_("find out who changed it: procomp-pay audit verify; then use --approve NAME"),
        )
    account = await repository.by_id(session, str(row.approved_by))
    second = as_operator(account)
    if account.disabled_at is not None:
        raise Forbidden(
            N_("%(name)s, who approved it, is disabled", name=account.name),
            next_step=N_("use --approve with the name of another operator"),
        )
    await check_two(session, operator.operator_id, second.operator_id)
    require(second, request.right, request.tournament_id)
    return second.name


async def check_two(session: AsyncSession, first_id: str, second_id: str) -> None:
    """Check that two operators are two, and that nobody may act as both: the rule for everything that needs
    two people.

    :raises Forbidden: they are the same, or one person may know the PINs or tokens of both.
    """
    first, second = [await repository.by_id(session, each) for each in (first_id, second_id)]
    check_second(first.name, second.name)
    as_first, as_second = [await _who_may_act_as(session, each) for each in (first, second)]
    for key, name in as_first.items():
        if key not in as_second:
            continue
        if key == second.folded_name:
            raise is_given(first.name, second.name)
        if key == first.folded_name:
            raise is_given(second.name, first.name)
        raise Forbidden(
            N_(
                "%(other)s gave %(first)s and %(second)s their PINs or tokens, and may act as both",
                other=name, first=first.name, second=second.name,
            ),
            next_step=N_("add --approve with the name of another operator"),
        )  # fmt: skip


async def _who_may_act_as(session: AsyncSession, row: OperatorAccount) -> dict[str, str]:
    """Return by folded name who may act as an operator: themselves, who gave them the PIN or token that they
    have, and whoever may act as that one."""
    names: dict[str, str] = {}
    account: OperatorAccount | None = row
    while account is not None and account.folded_name not in names:
        names[account.folded_name] = account.name
        giver = await secret_given_by(session, account)
        if giver is None:
            break
        account = await repository.by_name(session, folded(giver))
        if account is None:
            names[folded(giver)] = giver
    return names


async def unexpired(ctx: AppContext) -> list[ApprovalView]:
    """Return the requests that have not expired, approved ones too, oldest first."""
    async with ctx.db.reading() as session:
        return await _unexpired(ctx, session)


async def waiting(ctx: AppContext, session: AsyncSession, tournament_id: str | None) -> list[ApprovalView]:
    """Return the requests that nobody has approved yet, oldest first.

    :param tournament_id: only those that concern it; ``None`` for all.
    """
    return [
        view
        for view in await _unexpired(ctx, session)
        if view.approved_by is None and tournament_id in (None, view.content["tournament_id"])
    ]


async def _unexpired(ctx: AppContext, session: AsyncSession) -> list[ApprovalView]:
    names = await repository.names(session)
    return [_view(row, names) for row in await repository.open_approvals(session, ctx.clock())]


async def one(ctx: AppContext, approval_id: str) -> ApprovalView:
    """Return a request.

    :raises NotFound: no such request.
    """
    async with ctx.db.writing() as session:
        return _view(await _existing(session, approval_id), await repository.names(session))


async def approve(
    ctx: AppContext, operator: Operator, approval_id: str, seen: dict[str, Any]
) -> ApprovalView:
    """Approve another operator's request.

    :param seen: its content as it was shown to the operator.
    :raises NotFound: no such request. :raises Conflict: it has expired or was changed since it was shown.
    :raises Forbidden: it is their own, or they have not the right.
    """
    now = ctx.clock()
    async with ctx.db.writing() as session:
        account = await repository.by_id(session, operator.operator_id, lock=True)
        row = await _existing(session, approval_id)
        await check_two(session, row.requested_by, operator.operator_id)
        require(operator, Right(row.content["right"]), row.content["tournament_id"])
        if row.expires_at <= now:
            raise Conflict(
                N_("The request %(id)s has expired", id=row.id), next_step=N_("type the command again")
            )
        if row.content != seen or fingerprint(row.content) != row.fingerprint:
            raise Conflict(
                N_("The request %(id)s is not what was asked for", id=row.id),
                next_step=N_("type the command again; look who changed it: procomp-pay audit verify"),
            )
        names = await repository.names(session)
        if row.approved_by is None:
            row.approved_by, row.approved_at = operator.operator_id, now
            row.approved_fingerprint = row.fingerprint
            details: dict[str, object] = {**in_short(row.content), "approval": row.id}
            details["requested_by"] = names.get(row.requested_by)
            await record(ctx, session, account, audit.APPROVED, operator.name, details)
        return _view(row, names)


async def _existing(session: AsyncSession, approval_id: str) -> Approval:
    row = await repository.approval(session, approval_id)
    if row is None:
        raise NotFound(
            N_("There is no request %(id)s", id=approval_id[:64]), next_step="procomp-pay operator approvals"
        )
    return row


def _view(row: Approval, names: dict[str, str]) -> ApprovalView:
    return ApprovalView(
        approval_id=row.id,
        content=row.content,
        requested_by=names.get(row.requested_by, "?"),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        approved_by=names.get(row.approved_by, "?") if row.approved_by else None,
        approved_at=row.approved_at,
    )
