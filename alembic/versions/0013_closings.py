"""Closings of days, with their signatures.

Revision: 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add one module table; nothing else is touched."""
    op.create_table(
        "pay_closing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tournament_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("steps", types.ExactJson(), nullable=False),
        sa.Column("sums", types.ExactJson(), nullable=True),
        sa.Column("signatures", types.ExactJson(), nullable=False),
        sa.Column("begun_by", sa.Text(), nullable=False),
        sa.Column("begun_at", types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.Column("closed_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_closing_pkey")),
        sa.UniqueConstraint("tournament_id", "day", name=op.f("pay_closing_tournament_id_day_key")),
    )


def downgrade() -> None:
    """Drop the table: who closed which day, and signed it, is left in the audit trail alone."""
    op.drop_table("pay_closing")
