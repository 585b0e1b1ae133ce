"""The whole schema, for migrations: all tables and, besides, the partial indexes.

The partial indexes stand apart from their tables because SQLAlchemy loads the PostgreSQL dialect for their
``postgresql_where``, and no command that only reads and writes should pay for that.
"""

from __future__ import annotations

from sqlalchemy import Index, MetaData
from sqlalchemy import text as sql

from procomp_pay.storage.models import payments as module
from procomp_pay.storage.models import platform
from procomp_pay.storage.models import queues as work
from procomp_pay.storage.models import settlements as settlement
from procomp_pay.storage.models.columns import Row

#: The platform's tables: adopted where they exist, never altered, never dropped.
PLATFORM_TABLES = frozenset(
    each.__tablename__
    for each in (platform.User, platform.Tournament, platform.Participant, platform.Payment)
)


def _partial(name: str, table: type[Row], columns: tuple[str, ...], where: str) -> None:
    condition = sql(where)
    chosen = [table.metadata.tables[str(table.__tablename__)].c[column] for column in columns]
    Index(name, *chosen, postgresql_where=condition, sqlite_where=condition)


_partial("pay_payment_detail_due_idx", module.PaymentDetail, ("next_poll_at",), "next_poll_at IS NOT NULL")
_partial("pay_payment_detail_open_idx", module.PaymentDetail, ("participant_id",), "provider_open")
_partial(
    "pay_payment_detail_unsure_idx",
    module.PaymentDetail,
    ("create_state", "created_at"),
    "create_state IN ('planned', 'sent')",
)
_partial(
    "pay_payment_detail_disputed_idx",
    module.PaymentDetail,
    ("created_at", "payment_id"),
    "dispute_state IS NOT NULL",
)
_partial(
    "pay_payment_detail_completed_idx", module.PaymentDetail, ("completed_at",), "completed_at IS NOT NULL"
)
_partial("pay_refund_back_idx", module.Refund, ("updated_at",), "state = 'SUCCEEDED'")
_partial("pay_refund_due_idx", module.Refund, ("next_look_at",), "next_look_at IS NOT NULL")
_partial(
    "pay_webhook_event_pending_idx",
    work.WebhookEvent,
    ("next_attempt_at", "received_at"),
    "state = 'pending'",
)
_partial("pay_webhook_event_dead_idx", work.WebhookEvent, ("id",), "state = 'dead'")
_partial("pay_outbox_dead_idx", work.OutboxMessage, ("id",), "state = 'dead'")
_partial("pay_outbox_waiting_idx", work.OutboxMessage, ("next_attempt_at",), "state = 'waiting'")
_partial("pay_outbox_alert_idx", work.OutboxMessage, ("topic", "subject", "routed_at"), "subject IS NOT NULL")
_partial("pay_delivery_waiting_idx", work.Delivery, ("destination", "next_attempt_at"), "state = 'waiting'")
_partial("pay_delivery_dead_idx", work.Delivery, ("finished_at",), "state = 'dead'")
_partial("pay_discrepancy_open_idx", work.Discrepancy, ("opened_at",), "state = 'open'")

#: Imported so that :data:`METADATA` knows all tables.
_TABLE_MODULES = (module, platform, settlement, work)

METADATA: MetaData = Row.metadata
