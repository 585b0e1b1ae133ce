"""Migrations on a desk that has worked: nothing of its rows, triggers and indexes is lost on the way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, text

from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.storage.database import migrate
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment

#: Of revision 0002; what came later is not there on the way.
_OLD = (
    "User", "Tournament", "Participant", "Payment", "pay_payment_detail", "pay_refund", "pay_audit_entry",
    "pay_webhook_event", "pay_kaspi_operation", "pay_outbox", "pay_discrepancy", "pay_tournament_fee",
)  # fmt: skip


def _rows(url: str, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    with migrate.exclusive(url) as connection:
        rows = {}
        for table, names in columns.items():
            listed = ", ".join(f'"{name}"' for name in names)
            rows[table] = sorted(
                str(row) for row in connection.execute(text(f'SELECT {listed} FROM "{table}"')).all()
            )
        return rows


def _shape(url: str) -> dict[str, Any]:
    with migrate.exclusive(url) as connection:
        on_progress = inspect(connection)
        shape: dict[str, Any] = {
            table: sorted(str(index["name"]) for index in on_progress.get_indexes(table)) for table in _OLD
        }
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            if connection.dialect.name == "sqlite"
            else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        )
        shape["triggers"] = sorted(row[0] for row in connection.execute(text(query)).all())
        return shape


async def test_rows_live_through_every_revision(environment: ServiceEnvironment, database_url: str) -> None:
    opened = await reconciliation.paid(environment)
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    await reconciliation.paid_by_kaspi(environment)
    await environment.start()
    await reconciliation.paid_twice(environment)
    await reconciliation.run(environment)
    await environment.ctx.db.dispose()
    shape = _shape(database_url)
    assert shape["triggers"]
    migrate.downgrade(database_url, "0002")
    with migrate.exclusive(database_url) as connection:
        on_progress = inspect(connection)
        columns = {
            table: [str(column["name"]) for column in on_progress.get_columns(table)] for table in _OLD
        }
    # how letters are delivered has a table of its own since 0005
    columns["pay_outbox"] = ["id", "topic", "payment_id", "dedup_key", "payload"]
    before = _rows(database_url, columns)
    assert all(before[table] for table in _OLD), {t: len(r) for t, r in before.items()}
    migrate.upgrade(database_url)
    assert _rows(database_url, columns) == before
    assert _shape(database_url) == shape
