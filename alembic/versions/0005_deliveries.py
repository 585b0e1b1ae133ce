"""One row for each destination of a message, so that each is delivered and tried again by itself.

What lies in the outbox was written by versions that delivered nothing: it is put aside, so that nobody
gets a letter about last month's payment on the day of the upgrade.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATES = "state IN ('waiting', 'routed', 'skipped', 'held')"
_OLD_STATES = "state IN ('waiting', 'delivered', 'dead')"
_UNUSED = ("attempts", "leased_until", "last_error", "delivered_at")


def upgrade() -> None:
    """Only module tables."""
    with op.batch_alter_table("pay_outbox") as outbox:
        outbox.add_column(sa.Column("subject", sa.Text(), nullable=True))
        outbox.add_column(sa.Column("skipped", sa.Text(), nullable=True))
        outbox.add_column(sa.Column("routed_at", types.UtcDateTime(), nullable=True))
        outbox.drop_constraint(op.f("pay_outbox_state_check"), type_="check")
        for column in _UNUSED:
            outbox.drop_column(column)
    op.execute("UPDATE pay_outbox SET state = 'skipped', skipped = 'written before there was delivery'")
    with op.batch_alter_table("pay_outbox") as outbox:
        outbox.create_check_constraint(op.f("pay_outbox_state_check"), _STATES)
    op.create_index("pay_outbox_created_at_id_idx", "pay_outbox", ["created_at", "id"])
    _index("pay_outbox_alert_idx", "pay_outbox", ["topic", "subject", "routed_at"], "subject IS NOT NULL")
    op.create_table(
        "pay_delivery",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "destination IN ('participant_mail', 'platform_webhook', 'alert_webhook', 'alert_mail')",
            name=op.f("pay_delivery_destination_check"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'skipped', 'undeliverable', 'dead')",
            name=op.f("pay_delivery_state_check"),
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["pay_outbox.id"],
            name=op.f("pay_delivery_message_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_delivery_pkey")),
        sa.UniqueConstraint(
            "message_id",
            "destination",
            "recipient",
            name=op.f("pay_delivery_message_id_destination_recipient_key"),
        ),
    )
    _index(
        "pay_delivery_waiting_idx", "pay_delivery", ["destination", "next_attempt_at"], "state = 'waiting'"
    )
    _index("pay_delivery_dead_idx", "pay_delivery", ["finished_at"], "state = 'dead'")


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    """Back to one row for a message; what became of the deliveries goes."""
    op.drop_table("pay_delivery")
    op.drop_index("pay_outbox_alert_idx", "pay_outbox")
    op.drop_index("pay_outbox_created_at_id_idx", "pay_outbox")
    with op.batch_alter_table("pay_outbox") as outbox:
        outbox.drop_constraint(op.f("pay_outbox_state_check"), type_="check")
        for column in ("routed_at", "skipped", "subject"):
            outbox.drop_column(column)
        outbox.add_column(sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False))
        outbox.add_column(sa.Column("leased_until", types.UtcDateTime(), nullable=True))
        outbox.add_column(sa.Column("last_error", sa.Text(), nullable=True))
        outbox.add_column(sa.Column("delivered_at", types.UtcDateTime(), nullable=True))
    op.execute("UPDATE pay_outbox SET state = 'delivered' WHERE state <> 'waiting'")
    with op.batch_alter_table("pay_outbox") as outbox:
        outbox.create_check_constraint(op.f("pay_outbox_state_check"), _OLD_STATES)
