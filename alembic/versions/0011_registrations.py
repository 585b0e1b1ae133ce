"""Details of participants, and tournaments that are archived.

Revision: 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.config.platform_map import current
from procomp_pay.storage.models import types

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two module tables; nothing else is touched."""
    op.create_table(
        "pay_participant_detail",
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("club", sa.Text(), nullable=True),
        sa.Column("coach", sa.Text(), nullable=True),
        sa.Column("phone_enc", sa.Text(), nullable=True),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("no_reminders", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "birth_year BETWEEN 1900 AND 2100", name=op.f("pay_participant_detail_birth_year_check")
        ),
        sa.ForeignKeyConstraint(
            ["participant_id"],
            [current().key("Participant")],
            name=op.f("pay_participant_detail_participant_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("participant_id", name=op.f("pay_participant_detail_pkey")),
    )
    op.create_table(
        "pay_archived_tournament",
        sa.Column("tournament_id", sa.Text(), nullable=False),
        sa.Column("archived_by", sa.Text(), nullable=False),
        sa.Column("archived_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tournament_id"],
            [current().key("Tournament")],
            name=op.f("pay_archived_tournament_tournament_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tournament_id", name=op.f("pay_archived_tournament_pkey")),
    )


def downgrade() -> None:
    """Drop the tables: what they hold is lost, and archived tournaments are listed again."""
    op.drop_table("pay_archived_tournament")
    op.drop_table("pay_participant_detail")
