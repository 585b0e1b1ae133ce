"""How far a provider's list of events was read, and the inbox listed by time.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only module tables."""
    op.create_table(
        "pay_feed",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("read_until", types.UtcDateTime(), nullable=True),
        sa.Column("next_read_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pay_feed_pkey")),
    )
    op.create_index(op.f("pay_webhook_event_received_at_id_idx"), "pay_webhook_event", ["received_at", "id"])


def downgrade() -> None:
    """Back to 0002; the lists are read again from the beginning, which finds the same."""
    op.drop_index(op.f("pay_webhook_event_received_at_id_idx"), table_name="pay_webhook_event")
    op.drop_table("pay_feed")
