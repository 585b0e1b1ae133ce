"""Indexes for lists and reports: disputed payments, money by the day on which it moved.

Revision: 0007.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Only module tables."""
    op.create_index(
        "pay_payment_detail_disputed_idx",
        "pay_payment_detail",
        ["created_at", "payment_id"],
        **_where("dispute_state IS NOT NULL"),
    )
    op.create_index(
        "pay_payment_detail_completed_idx",
        "pay_payment_detail",
        ["completed_at"],
        **_where("completed_at IS NOT NULL"),
    )
    op.create_index("pay_refund_back_idx", "pay_refund", ["updated_at"], **_where("state = 'SUCCEEDED'"))


def downgrade() -> None:
    """Back to 0006; nothing but speed goes."""
    op.drop_index("pay_refund_back_idx", "pay_refund")
    op.drop_index("pay_payment_detail_completed_idx", "pay_payment_detail")
    op.drop_index("pay_payment_detail_disputed_idx", "pay_payment_detail")
