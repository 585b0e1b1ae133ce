"""The tables: the platform's where they are missing, and the module's.

Revision: 0001, the first.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM

from procomp_pay.config.platform_map import current
from procomp_pay.storage.database.platform_check import adopts_platform
from procomp_pay.storage.models import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_LABELS = {
    "PaymentStatus": ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "REFUNDED", "CANCELLED", "EXPIRED"),
    "PaymentMethod": ("KASPI_QR", "APPLE_PAY", "GOOGLE_PAY"),
    "Currency": ("USD", "KZT", "EUR", "RUB"),
    "ParticipantStatus": ("REGISTERED", "PAID", "CANCELLED"),
    "UserRole": ("USER", "STAFF", "ADMIN"),
}

_MODULE_TABLES = (
    "pay_payment_detail",
    "pay_tournament_fee",
    "pay_idempotency_key",
    "pay_refund",
    "pay_kaspi_operation",
    "pay_audit_entry",
    "pay_audit_seal",
    "pay_webhook_event",
    "pay_outbox",
    "pay_reconciliation_run",
    "pay_discrepancy",
)


def upgrade() -> None:
    """An existing platform database is adopted: its tables are checked, not touched."""
    if not adopts_platform(op.get_bind()):
        _make_enums()
        _make_platform()
    _make_of_payments()
    _make_of_work()


def downgrade() -> None:
    """The platform's tables stay, whoever made them: they hold what people registered and paid."""
    for table in reversed(_MODULE_TABLES):
        op.drop_table(table)


def _enum(name: str) -> sa.Enum:
    if op.get_bind().dialect.name == "postgresql":
        return ENUM(*_LABELS[name], name=name, create_type=False)
    return sa.Enum(*_LABELS[name], name=name, create_constraint=True)


def _make_enums() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name, labels in _LABELS.items():
            ENUM(*labels, name=name).create(op.get_bind(), checkfirst=True)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def _make_platform() -> None:
    op.create_table(
        "User",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", _enum("UserRole"), server_default="USER", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("User_pkey")),
    )
    op.create_index("User_email_key", "User", ["email"], unique=True)
    op.create_table(
        "Tournament",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("entryFee", types.Amount(), nullable=False),
        sa.Column("currency", _enum("Currency"), nullable=False),
        sa.Column("startsAt", types.UtcMillis(), nullable=False),
        sa.Column("createdAt", types.UtcMillis(), server_default=types.now_millis(), nullable=False),
        sa.Column("updatedAt", types.UtcMillis(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("Tournament_pkey")),
    )
    op.create_table(
        "Payment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("currency", _enum("Currency"), server_default="USD", nullable=False),
        sa.Column("status", _enum("PaymentStatus"), server_default="PENDING", nullable=False),
        sa.Column("method", _enum("PaymentMethod"), nullable=True),
        sa.Column("stripePaymentId", sa.Text(), nullable=True),
        sa.Column("stripeSessionId", sa.Text(), nullable=True),
        sa.Column("kaspiQrCode", sa.Text(), nullable=True),
        sa.Column("kaspiTransactionId", sa.Text(), nullable=True),
        sa.Column("applePayId", sa.Text(), nullable=True),
        sa.Column("googlePayId", sa.Text(), nullable=True),
        sa.Column("metadata", types.ExactJson(), nullable=True),
        sa.Column("failureReason", sa.Text(), nullable=True),
        sa.Column("userId", sa.Text(), nullable=False),
        sa.Column("tournamentId", sa.Text(), nullable=False),
        sa.Column("createdAt", types.UtcMillis(), server_default=types.now_millis(), nullable=False),
        sa.Column("updatedAt", types.UtcMillis(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tournamentId"],
            ["Tournament.id"],
            name=op.f("Payment_tournamentId_fkey"),
            onupdate="CASCADE",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["userId"], ["User.id"], name=op.f("Payment_userId_fkey"), onupdate="CASCADE", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("Payment_pkey")),
    )
    op.create_index("Payment_createdAt_id_idx", "Payment", ["createdAt", "id"])
    op.create_index("Payment_kaspiQrCode_idx", "Payment", ["kaspiQrCode"])
    op.create_index("Payment_status_createdAt_idx", "Payment", ["status", "createdAt"])
    op.create_index("Payment_stripePaymentId_idx", "Payment", ["stripePaymentId"])
    op.create_index("Payment_stripeSessionId_idx", "Payment", ["stripeSessionId"])
    op.create_index("Payment_tournamentId_createdAt_idx", "Payment", ["tournamentId", "createdAt"])
    op.create_index("Payment_userId_createdAt_idx", "Payment", ["userId", "createdAt"])
    op.create_table(
        "Participant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("userId", sa.Text(), nullable=False),
        sa.Column("tournamentId", sa.Text(), nullable=False),
        sa.Column("status", _enum("ParticipantStatus"), server_default="REGISTERED", nullable=False),
        sa.Column("paymentId", sa.Text(), nullable=True),
        sa.Column("fullName", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("createdAt", types.UtcMillis(), server_default=types.now_millis(), nullable=False),
        sa.Column("updatedAt", types.UtcMillis(), nullable=False),
        sa.ForeignKeyConstraint(
            ["paymentId"],
            ["Payment.id"],
            name=op.f("Participant_paymentId_fkey"),
            onupdate="CASCADE",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["tournamentId"],
            ["Tournament.id"],
            name=op.f("Participant_tournamentId_fkey"),
            onupdate="CASCADE",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["userId"],
            ["User.id"],
            name=op.f("Participant_userId_fkey"),
            onupdate="CASCADE",
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("Participant_pkey")),
    )
    op.create_index("Participant_paymentId_key", "Participant", ["paymentId"], unique=True)
    op.create_index("Participant_tournamentId_idx", "Participant", ["tournamentId"])
    op.create_index("Participant_userId_idx", "Participant", ["userId"])


def _make_of_payments() -> None:
    op.create_table(
        "pay_payment_detail",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("create_state", sa.Text(), nullable=False),
        sa.Column("provider_open", sa.Boolean(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("charge_id", sa.Text(), nullable=True),
        sa.Column("wallet", sa.Text(), nullable=True),
        sa.Column("payment_url", sa.Text(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("client_secret_enc", sa.Text(), nullable=True),
        sa.Column("qr_token_enc", sa.Text(), nullable=True),
        sa.Column("requested_amount", types.Amount(), nullable=False),
        sa.Column("requested_currency", sa.Text(), nullable=False),
        sa.Column("charged_amount", types.Amount(), nullable=False),
        sa.Column("charged_currency", sa.Text(), nullable=False),
        sa.Column("refunded_amount", types.Amount(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("is_duplicate", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("poll_interval_s", sa.Integer(), nullable=True),
        sa.Column("scan_timeout_s", sa.Integer(), nullable=True),
        sa.Column("confirm_timeout_s", sa.Integer(), nullable=True),
        sa.Column("scanned_at", types.UtcDateTime(), nullable=True),
        sa.Column("expires_at", types.UtcDateTime(), nullable=True),
        sa.Column("next_poll_at", types.UtcDateTime(), nullable=True),
        sa.Column("news_at", types.UtcDateTime(), nullable=True),
        sa.Column("cancel_requested_by", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcDateTime(), nullable=True),
        sa.Column("sent_at", types.UtcDateTime(), nullable=True),
        sa.Column("completed_at", types.UtcDateTime(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "channel IN ('kaspi_qr', 'kaspi_link', 'stripe_checkout', 'stripe_intent')",
            name=op.f("pay_payment_detail_channel_check"),
        ),
        sa.CheckConstraint(
            "charged_currency IN ('USD', 'KZT', 'EUR', 'RUB')",
            name=op.f("pay_payment_detail_charged_currency_check"),
        ),
        sa.CheckConstraint(
            "create_state IN ('planned', 'sent', 'open', 'never')",
            name=op.f("pay_payment_detail_create_state_check"),
        ),
        sa.CheckConstraint(
            "requested_currency IN ('USD', 'KZT', 'EUR', 'RUB')",
            name=op.f("pay_payment_detail_requested_currency_check"),
        ),
        sa.CheckConstraint(
            "refunded_amount >= 0 AND refunded_amount <= charged_amount",
            name=op.f("pay_payment_detail_refunded_amount_check"),
        ),
        sa.CheckConstraint(
            "requested_amount > 0 AND charged_amount > 0", name=op.f("pay_payment_detail_amounts_check")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            [current().key("Payment")],
            name=op.f("pay_payment_detail_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pay_payment_detail_pkey")),
        sa.UniqueConstraint("provider_ref", name=op.f("pay_payment_detail_provider_ref_key")),
    )
    op.create_index(
        "pay_payment_detail_created_at_payment_id_idx", "pay_payment_detail", ["created_at", "payment_id"]
    )
    op.create_index(
        "pay_payment_detail_due_idx",
        "pay_payment_detail",
        ["next_poll_at"],
        **_where("next_poll_at IS NOT NULL"),
    )
    op.create_index(
        "pay_payment_detail_open_idx", "pay_payment_detail", ["participant_id"], **_where("provider_open")
    )
    op.create_index(
        "pay_payment_detail_participant_id_created_at_payment_id_idx",
        "pay_payment_detail",
        ["participant_id", "created_at", "payment_id"],
    )
    op.create_index(
        "pay_payment_detail_unsure_idx",
        "pay_payment_detail",
        ["create_state", "created_at"],
        **_where("create_state IN ('planned', 'sent')"),
    )
    op.create_table(
        "pay_tournament_fee",
        sa.Column("tournament_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "currency IN ('USD', 'KZT', 'EUR', 'RUB')", name=op.f("pay_tournament_fee_currency_check")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("pay_tournament_fee_amount_check")),
        sa.ForeignKeyConstraint(
            ["tournament_id"],
            [current().key("Tournament")],
            name=op.f("pay_tournament_fee_tournament_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("tournament_id", "currency", name=op.f("pay_tournament_fee_pkey")),
    )
    op.create_table(
        "pay_idempotency_key",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("response", types.ExactJson(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pay_idempotency_key_pkey")),
    )
    op.create_table(
        "pay_refund",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_refund_id", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "currency IN ('USD', 'KZT', 'EUR', 'RUB')", name=op.f("pay_refund_currency_check")
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("pay_refund_state_check")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("pay_refund_amount_check")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            [current().key("Payment")],
            name=op.f("pay_refund_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_refund_pkey")),
        sa.UniqueConstraint("provider_refund_id", name=op.f("pay_refund_provider_refund_id_key")),
    )
    op.create_index("pay_refund_payment_id_idx", "pay_refund", ["payment_id"])
    op.create_table(
        "pay_kaspi_operation",
        sa.Column("operation_number", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("paid_at", types.UtcDateTime(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("pay_kaspi_operation_amount_check")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            [current().key("Payment")],
            name=op.f("pay_kaspi_operation_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("operation_number", name=op.f("pay_kaspi_operation_pkey")),
    )
    op.create_index("pay_kaspi_operation_payment_id_idx", "pay_kaspi_operation", ["payment_id"])
    op.create_table(
        "pay_audit_entry",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("before", types.ExactJson(), nullable=True),
        sa.Column("after", types.ExactJson(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_audit_entry_pkey")),
        sa.UniqueConstraint("payment_id", "seq", name=op.f("pay_audit_entry_payment_id_seq_key")),
    )
    op.create_table(
        "pay_audit_seal",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sealed_at", types.UtcDateTime(), nullable=False),
        sa.Column("merkle_root", sa.Text(), nullable=False),
        sa.Column("chain_count", sa.Integer(), nullable=False),
        sa.Column("sealed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_audit_seal_pkey")),
    )


def _make_of_work() -> None:
    op.create_table(
        "pay_webhook_event",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload_enc", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", types.UtcDateTime(), nullable=True),
        sa.Column("leased_until", types.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("occurred_at", types.UtcDateTime(), nullable=False),
        sa.Column("received_at", types.UtcDateTime(), nullable=False),
        sa.Column("handled_at", types.UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'done', 'ignored', 'foreign', 'dead')",
            name=op.f("pay_webhook_event_state_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_webhook_event_pkey")),
        sa.UniqueConstraint("provider", "event_id", name=op.f("pay_webhook_event_provider_event_id_key")),
    )
    op.create_index(
        "pay_webhook_event_pending_idx",
        "pay_webhook_event",
        ["next_attempt_at", "received_at"],
        **_where("state = 'pending'"),
    )
    op.create_table(
        "pay_outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("dedup_key", sa.Text(), nullable=True),
        sa.Column("payload", types.ExactJson(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", types.UtcDateTime(), nullable=False),
        sa.Column("leased_until", types.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("delivered_at", types.UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name=op.f("pay_outbox_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_outbox_pkey")),
        sa.UniqueConstraint("dedup_key", name=op.f("pay_outbox_dedup_key_key")),
    )
    op.create_index(
        "pay_outbox_waiting_idx", "pay_outbox", ["next_attempt_at"], **_where("state = 'waiting'")
    )
    op.create_table(
        "pay_reconciliation_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("window_from", types.UtcDateTime(), nullable=True),
        sa.Column("window_until", types.UtcDateTime(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("counts", types.ExactJson(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_reconciliation_run_pkey")),
    )
    op.create_table(
        "pay_discrepancy",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("detail", types.ExactJson(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolved_at", types.UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'resolved')", name=op.f("pay_discrepancy_state_check")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["pay_reconciliation_run.id"], name=op.f("pay_discrepancy_run_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_discrepancy_pkey")),
        sa.UniqueConstraint("fingerprint", name=op.f("pay_discrepancy_fingerprint_key")),
    )
    op.create_index("pay_discrepancy_open_idx", "pay_discrepancy", ["opened_at"], **_where("state = 'open'"))
