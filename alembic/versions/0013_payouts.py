"""Payouts of the providers, what is in them, and the bank's lines by which they arrive.

Revision: 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.config.platform_map import current
from procomp_pay.storage.models import types

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KINDS = "'payment', 'refund', 'refund_failed', 'dispute', 'dispute_reversed', 'other'"


def upgrade() -> None:
    """Add three module tables; nothing else is touched."""
    op.create_table(
        "pay_bank_line",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_bank_line_pkey")),
        sa.UniqueConstraint("fingerprint", name=op.f("pay_bank_line_fingerprint_key")),
    )
    op.create_index(op.f("pay_bank_line_booked_on_idx"), "pay_bank_line", ["booked_on"])
    op.create_table(
        "pay_payout",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("expected_on", sa.Date(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("bank_line_id", sa.Text(), nullable=True),
        sa.Column("matched_how", sa.Text(), nullable=True),
        sa.Column("matched_by", sa.Text(), nullable=True),
        sa.Column("matched_at", types.UtcDateTime(), nullable=True),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bank_line_id"], ["pay_bank_line.id"], name=op.f("pay_payout_bank_line_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_payout_pkey")),
        sa.UniqueConstraint("provider", "ref", "currency", name=op.f("pay_payout_provider_ref_currency_key")),
    )
    op.create_index(op.f("pay_payout_bank_line_id_idx"), "pay_payout", ["bank_line_id"])
    op.create_index(op.f("pay_payout_expected_on_idx"), "pay_payout", ["expected_on"])
    op.create_table(
        "pay_balance_entry",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("payout_id", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("fee", types.Amount(), nullable=False),
        sa.Column("net", types.Amount(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(f"kind IN ({_KINDS})", name=op.f("pay_balance_entry_kind_check")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            [current().key("Payment")],
            name=op.f("pay_balance_entry_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["payout_id"], ["pay_payout.id"], name=op.f("pay_balance_entry_payout_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_balance_entry_pkey")),
        sa.UniqueConstraint("provider", "kind", "ref", name=op.f("pay_balance_entry_provider_kind_ref_key")),
    )
    for column in ("at", "payment_id", "payout_id"):
        op.create_index(op.f(f"pay_balance_entry_{column}_idx"), "pay_balance_entry", [column])


def downgrade() -> None:
    """Drop the tables: payouts and bank lines can be read again."""
    op.drop_table("pay_balance_entry")
    op.drop_table("pay_payout")
    op.drop_table("pay_bank_line")
