"""Define the whole schema for migrations: all tables, and the partial indexes.

The partial indexes are separate from their tables because SQLAlchemy loads the PostgreSQL dialect for their
``postgresql_where``, which commands that only read and write rows do not need.
"""

from __future__ import annotations

from sqlalchemy import Index, MetaData
from sqlalchemy import text as sql

from procomp_pay.storage.models import (
    audit,
    closing,
    idempotency,
    kaspi_operations,
    notifications,
    operators,
    payments,
    payouts,
    platform,
    provider_movements,
    reconciliation,
    refunds,
    registrations,
    terms,
    webhooks,
)
from procomp_pay.storage.models.columns import Row

#: The platform's tables: used as they are if they exist, never altered, never dropped.
PLATFORM_TABLES = frozenset(
    table.__tablename__
    for table in (platform.User, platform.Tournament, platform.Participant, platform.Payment)
)


def _partial(name: str, table: type[Row], columns: tuple[str, ...], where: str) -> None:
    condition = sql(where)
    chosen = [table.metadata.tables[str(table.__tablename__)].c[column] for column in columns]
    Index(name, *chosen, postgresql_where=condition, sqlite_where=condition)


_partial("pay_payment_detail_due_idx", payments.PaymentDetail, ("next_poll_at",), "next_poll_at IS NOT NULL")
_partial("pay_payment_detail_open_idx", payments.PaymentDetail, ("participant_id",), "provider_open")
_partial(
    "pay_payment_detail_unsure_idx",
    payments.PaymentDetail,
    ("create_state", "created_at"),
    "create_state IN ('planned', 'sent')",
)
_partial(
    "pay_payment_detail_disputed_idx",
    payments.PaymentDetail,
    ("created_at", "payment_id"),
    "dispute_state IS NOT NULL",
)
_partial(
    "pay_payment_detail_completed_idx", payments.PaymentDetail, ("completed_at",), "completed_at IS NOT NULL"
)
_partial("pay_refund_back_idx", refunds.Refund, ("updated_at",), "state = 'SUCCEEDED'")
_partial("pay_refund_due_idx", refunds.Refund, ("next_look_at",), "next_look_at IS NOT NULL")
_partial(
    "pay_webhook_event_pending_idx",
    webhooks.WebhookEvent,
    ("next_attempt_at", "received_at"),
    "state = 'pending'",
)
_partial("pay_webhook_event_dead_idx", webhooks.WebhookEvent, ("id",), "state = 'dead'")
_partial("pay_outbox_dead_idx", notifications.OutboxMessage, ("id",), "state = 'dead'")
_partial("pay_outbox_waiting_idx", notifications.OutboxMessage, ("next_attempt_at",), "state = 'waiting'")
_partial(
    "pay_outbox_alert_idx",
    notifications.OutboxMessage,
    ("topic", "subject", "routed_at"),
    "subject IS NOT NULL",
)
_partial(
    "pay_delivery_waiting_idx",
    notifications.Delivery,
    ("destination", "next_attempt_at"),
    "state = 'waiting'",
)
_partial("pay_delivery_dead_idx", notifications.Delivery, ("finished_at",), "state = 'dead'")
_partial("pay_discrepancy_open_idx", reconciliation.Discrepancy, ("opened_at",), "state = 'open'")

#: Imported so that :data:`METADATA` knows all tables.
MODELS = (
    audit, closing, idempotency, kaspi_operations, notifications, operators, payments, payouts, platform,
    provider_movements, reconciliation, refunds, registrations, terms, webhooks,
)  # fmt: skip

METADATA: MetaData = Row.metadata
