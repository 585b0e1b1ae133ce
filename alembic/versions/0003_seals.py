"""Seals that can be computed again, and indexes for what is counted.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DEAD = {"pay_webhook_event": "pay_webhook_event_dead_idx", "pay_outbox": "pay_outbox_dead_idx"}


def upgrade() -> None:
    """Nothing has written a seal so far: the new columns need no defaults."""
    with op.batch_alter_table("pay_audit_seal") as seal:
        seal.add_column(sa.Column("number", sa.Integer(), nullable=False))
        seal.add_column(sa.Column("last_entry_id", sa.BigInteger(), nullable=False))
        seal.add_column(sa.Column("entry_count", sa.BigInteger(), nullable=False))
        seal.add_column(sa.Column("previous_root", sa.Text(), nullable=False))
        seal.create_unique_constraint(op.f("pay_audit_seal_number_key"), ["number"])
    dead = sa.text("state = 'dead'")
    for table, name in _DEAD.items():
        op.create_index(name, table, ["id"], postgresql_where=dead, sqlite_where=dead)


def downgrade() -> None:
    """Back to 0002; which entries a seal covered is forgotten."""
    for table, name in _DEAD.items():
        op.drop_index(name, table)
    with op.batch_alter_table("pay_audit_seal") as seal:
        seal.drop_constraint(op.f("pay_audit_seal_number_key"), type_="unique")
        for column in ("previous_root", "entry_count", "last_entry_id", "number"):
            seal.drop_column(column)
