"""Refunds that are followed up, disputes, and a trigger that no refund goes beyond its payment.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.storage.models import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: The sum is taken under the payment's row lock, so that two refunds at once cannot both see room.
_POSTGRESQL = (
    """
    CREATE FUNCTION pay_refund_within_payment() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE charged numeric; held numeric;
    BEGIN
        SELECT charged_amount INTO charged FROM pay_payment_detail WHERE payment_id = NEW.payment_id FOR UPDATE;
        SELECT coalesce(sum(amount), 0) INTO held FROM pay_refund
            WHERE payment_id = NEW.payment_id AND id <> NEW.id AND state IN ('PENDING', 'SUCCEEDED');
        IF NEW.state IN ('PENDING', 'SUCCEEDED') AND (charged IS NULL OR held + NEW.amount > charged) THEN
            RAISE EXCEPTION 'pay_refund_within_payment: refunds beyond the payment'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'pay_refund_within_payment';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER pay_refund_within_payment BEFORE INSERT OR UPDATE ON pay_refund
        FOR EACH ROW EXECUTE FUNCTION pay_refund_within_payment()
    """,
)

_BODY = """
    BEGIN
        SELECT RAISE(ABORT, 'CHECK constraint failed: pay_refund_within_payment')
        WHERE NEW.state IN ('PENDING', 'SUCCEEDED') AND NEW.amount + (
            SELECT coalesce(sum(amount), 0) FROM pay_refund
            WHERE payment_id = NEW.payment_id AND id <> NEW.id AND state IN ('PENDING', 'SUCCEEDED')
        ) > (SELECT charged_amount FROM pay_payment_detail WHERE payment_id = NEW.payment_id);
    END
"""
_SQLITE = (
    f"CREATE TRIGGER pay_refund_within_payment_insert BEFORE INSERT ON pay_refund {_BODY}",
    f"CREATE TRIGGER pay_refund_within_payment_update BEFORE UPDATE ON pay_refund {_BODY}",
)
_DISPUTE = "dispute_state IN ('open', 'withdrawn', 'won', 'lost')"


def upgrade() -> None:
    """Only module tables."""
    with op.batch_alter_table("pay_payment_detail") as detail:
        detail.add_column(sa.Column("dispute_id", sa.Text(), nullable=True))
        detail.add_column(sa.Column("dispute_state", sa.Text(), nullable=True))
        detail.add_column(sa.Column("dispute_amount", types.Amount(), nullable=True))
        detail.add_column(sa.Column("dispute_reason", sa.Text(), nullable=True))
        detail.add_column(sa.Column("dispute_due_at", types.UtcDateTime(), nullable=True))
        detail.create_check_constraint(op.f("pay_payment_detail_dispute_state_check"), _DISPUTE)
    with op.batch_alter_table("pay_refund") as refund:
        refund.add_column(sa.Column("sent_at", types.UtcDateTime(), nullable=True))
        refund.add_column(sa.Column("next_look_at", types.UtcDateTime(), nullable=True))
    due = sa.text("next_look_at IS NOT NULL")
    op.create_index(
        "pay_refund_due_idx", "pay_refund", ["next_look_at"], postgresql_where=due, sqlite_where=due
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Back to 0001; what was known of disputes goes."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER pay_refund_within_payment ON pay_refund")
        op.execute("DROP FUNCTION pay_refund_within_payment")
    else:
        op.execute("DROP TRIGGER pay_refund_within_payment_insert")
        op.execute("DROP TRIGGER pay_refund_within_payment_update")
    op.drop_index("pay_refund_due_idx", "pay_refund")
    with op.batch_alter_table("pay_refund") as refund:
        refund.drop_column("next_look_at")
        refund.drop_column("sent_at")
    with op.batch_alter_table("pay_payment_detail") as detail:
        detail.drop_constraint(op.f("pay_payment_detail_dispute_state_check"), type_="check")
        for column in ("dispute_due_at", "dispute_reason", "dispute_amount", "dispute_state", "dispute_id"):
            detail.drop_column(column)
