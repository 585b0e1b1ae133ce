"""Store fees and net amounts from providers' statements, once for each movement."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Dialect, TextClause, text, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.models.columns import among
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.reconciliation.staging_rows import MovementPage
from procomp_pay.storage.reconciliation.staging_sql import MOVEMENT

_movement: Any = ProviderMovement


async def record(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Store movements, skipping those that are stored already."""
    await write_all(session, [Write(Action.INSERT_ONCE, ProviderMovement, rows)])


async def record_page(
    session: AsyncSession, page: MovementPage, shared: dict[str, Any], new_id: Callable[[], str]
) -> None:
    """Store a page of a statement's movements, skipping those that are stored already.

    :param shared: the values that all of them share.
    """
    ids = [new_id() for _ in range(page.size)]
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        columns = zip(ids, *page.columns, strict=True)
        await record(session, [dict(zip(("id", *MOVEMENT), row, strict=True)) | shared for row in columns])
        return
    # the run is marked as done by a commit that waits for the disk, and these are before it in the log
    await connection.execute(text("SET LOCAL synchronous_commit = off"))
    arrays = dict(zip(MOVEMENT, page.columns, strict=True)) | {"id": f"{{{','.join(ids)}}}"}
    await connection.execute(_record_arrays(tuple(shared)), arrays | shared)


@cache
def _record_arrays(shared: tuple[str, ...]) -> TextClause:
    """Return an INSERT of arrays that the server has written itself: a parameter for each value would take
    ten times as long."""
    table = ProviderMovement.metadata.tables[str(ProviderMovement.__tablename__)]
    names = ("id", *MOVEMENT)
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    kinds = [table.c[name].type.compile(dialect) for name in names]
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in zip(names, kinds, strict=True))
    values = ", ".join(f":{name}" for name in shared)
    return text(
        f"""INSERT INTO pay_settlement ({", ".join((*names, *shared))})
        SELECT page.*, {values} FROM unnest({arrays}) AS page ON CONFLICT DO NOTHING"""  # noqa: S608
    )


async def refunds_by_ref(
    session: AsyncSession, provider: str, refs: Collection[str]
) -> dict[str, tuple[datetime, Decimal]]:
    """Return when each of these refunds moved, and its amount, of those that are stored."""
    query = select(_movement.ref, _movement.at, _movement.amount).where(
        _movement.provider == provider, _movement.kind == LineKind.REFUND, _movement.ref.in_(refs)
    )
    return {ref: (at, amount) for ref, at, amount in (await session.exec(query)).all()}


async def payment_ids_by_reference(
    session: AsyncSession, provider: str, references: set[str]
) -> dict[str, str]:
    """Return our payment's id for each provider reference: for Stripe an intent or a charge, for Kaspi the
    number of an operation or of a QR."""
    detail_id = col(PaymentDetail.payment_id)
    if provider == "stripe":
        ids = await _ids(session, col(Payment.stripe_payment_id), detail_id == col(Payment.id), references)
        # lines that name only their charge are looked up separately, because no index has it
        charges = {name for name in references - set(ids) if name.startswith(("ch_", "py_"))}
        return ids | (await _ids(session, col(PaymentDetail.charge_id), true(), charges) if charges else {})
    number, is_operations = col(KaspiOperation.operation_number), col(KaspiOperation.payment_id) == detail_id
    return (
        await _ids(session, col(PaymentDetail.provider_ref), true(), references)
        | await _ids(session, number, is_operations, references)
        | await _ids(session, col(Payment.kaspi_transaction_id), detail_id == col(Payment.id), references)
    )


async def _ids(
    session: AsyncSession, column: Mapped[Any], joined: ColumnElement[bool], references: set[str]
) -> dict[str, str]:
    connection = await session.connection()
    named = among(cast(Any, column), "references", postgresql=connection.dialect.name == "postgresql")
    query = select(column, col(PaymentDetail.payment_id)).where(joined, named)
    rows = await connection.execute(query, {"references": list(references)})
    return {row[0]: row[1] for row in rows}
