"""Operators, their logins, and approvals by a second person.

Revision: 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three module tables; nothing else is touched."""
    op.create_table(
        "pay_operator",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folded_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tournaments", types.ExactJson(), nullable=True),
        sa.Column("secret_kind", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("failed_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until", types.UtcDateTime(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("disabled_at", types.UtcDateTime(), nullable=True),
        sa.CheckConstraint("role IN ('desk', 'finance', 'admin')", name=op.f("pay_operator_role_check")),
        sa.CheckConstraint("secret_kind IN ('pin', 'token')", name=op.f("pay_operator_secret_kind_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_operator_pkey")),
        sa.UniqueConstraint("folded_name", name=op.f("pay_operator_folded_name_key")),
    )
    op.create_table(
        "pay_operator_session",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("operator_id", sa.Text(), nullable=False),
        sa.Column("os_user", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["pay_operator.id"],
            name=op.f("pay_operator_session_operator_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pay_operator_session_pkey")),
    )
    op.create_index(op.f("pay_operator_session_operator_id_idx"), "pay_operator_session", ["operator_id"])
    op.create_table(
        "pay_approval",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject_hash", sa.Text(), nullable=False),
        sa.Column("content", types.ExactJson(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_fingerprint", sa.Text(), nullable=True),
        sa.Column("approved_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["pay_operator.id"], name=op.f("pay_approval_requested_by_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["pay_operator.id"], name=op.f("pay_approval_approved_by_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_approval_pkey")),
    )
    op.create_index(op.f("pay_approval_subject_hash_idx"), "pay_approval", ["subject_hash"])
    op.create_index(op.f("pay_approval_expires_at_idx"), "pay_approval", ["expires_at"])


def downgrade() -> None:
    """Drop the tables: everybody with the program may do everything again."""
    op.drop_table("pay_approval")
    op.drop_table("pay_operator_session")
    op.drop_table("pay_operator")
