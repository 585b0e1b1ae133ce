"""Search keys of participants' names.

Revision: 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a module table, which ``serve`` and ``maintain`` fill; nothing else is touched."""
    op.create_table(
        "pay_participant_search",
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("search_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("participant_id", name=op.f("pay_participant_search_pkey")),
    )


def downgrade() -> None:
    """Drop the table: it is made of names that stay."""
    op.drop_table("pay_participant_search")
