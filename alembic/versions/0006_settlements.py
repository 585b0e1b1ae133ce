"""What the providers settled, with fees; and whose discrepancy it is, for filters.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.config.platform_map import current
from procomp_pay.storage.models import types

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('payment', 'refund', 'refund_failed', 'dispute', 'dispute_reversed', 'other')"


def upgrade() -> None:
    """Only module tables. The new one comes last: it locks the platform's payments until the end."""
    with op.batch_alter_table("pay_discrepancy") as discrepancy:
        discrepancy.add_column(sa.Column("provider", sa.Text(), nullable=True))
    op.create_index("pay_discrepancy_payment_id_idx", "pay_discrepancy", ["payment_id"])
    op.create_index("pay_discrepancy_opened_at_id_idx", "pay_discrepancy", ["opened_at", "id"])
    op.create_table(
        "pay_settlement",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("balance_transaction_id", sa.Text(), nullable=True),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("fee", types.Amount(), nullable=True),
        sa.Column("net", types.Amount(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(_KINDS, name=op.f("pay_settlement_kind_check")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            [current().key("Payment")],
            name=op.f("pay_settlement_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_settlement_pkey")),
        sa.UniqueConstraint("provider", "kind", "ref", name=op.f("pay_settlement_provider_kind_ref_key")),
        sa.UniqueConstraint("balance_transaction_id", name=op.f("pay_settlement_balance_transaction_id_key")),
    )
    op.create_index("pay_settlement_payment_id_idx", "pay_settlement", ["payment_id"])
    op.create_index("pay_settlement_at_idx", "pay_settlement", ["at"])


def downgrade() -> None:
    """Back to 0002; what was known of fees goes, and can be read again."""
    op.drop_index("pay_discrepancy_opened_at_id_idx", "pay_discrepancy")
    op.drop_index("pay_discrepancy_payment_id_idx", "pay_discrepancy")
    with op.batch_alter_table("pay_discrepancy") as discrepancy:
        discrepancy.drop_column("provider")
    op.drop_table("pay_settlement")
