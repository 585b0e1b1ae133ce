"""The time of a dispute's newest event: of two final ones the later wins.

Revision: 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a nullable column to a module table: neither database rewrites the table."""
    op.add_column("pay_payment_detail", sa.Column("dispute_at", types.UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("pay_payment_detail", "dispute_at")
