"""Fees that hold on some days, and refund policies.

Revision: 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from procomp_pay.config.platform_map import current
from procomp_pay.storage.models import types

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_CURRENCIES = "currency IN ('USD', 'KZT', 'EUR', 'RUB')"


def upgrade() -> None:
    """Add two module tables; nothing else is touched."""
    op.create_table(
        "pay_fee_period",
        sa.Column("tournament_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", types.Amount(), nullable=False),
        sa.Column("since_day", sa.Date(), nullable=True),
        sa.Column("until_day", sa.Date(), nullable=True),
        *_who_set_it(),
        sa.CheckConstraint(
            "kind IN ('early', 'normal', 'late', 'on-site')", name=op.f("pay_fee_period_kind_check")
        ),
        sa.CheckConstraint(_CURRENCIES, name=op.f("pay_fee_period_currency_check")),
        sa.CheckConstraint("amount > 0", name=op.f("pay_fee_period_amount_check")),
        sa.CheckConstraint("until_day >= since_day", name=op.f("pay_fee_period_days_check")),
        _tournament("pay_fee_period"),
        sa.PrimaryKeyConstraint("tournament_id", "currency", "kind", name=op.f("pay_fee_period_pkey")),
    )
    op.create_table(
        "pay_refund_step",
        sa.Column("tournament_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("kept", types.Amount(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("until_day", sa.Date(), nullable=True),
        sa.Column("days_before", sa.Integer(), nullable=True),
        *_who_set_it(),
        sa.CheckConstraint(_CURRENCIES, name=op.f("pay_refund_step_currency_check")),
        sa.CheckConstraint("percent BETWEEN 0 AND 100", name=op.f("pay_refund_step_percent_check")),
        sa.CheckConstraint("kept > 0", name=op.f("pay_refund_step_kept_check")),
        sa.CheckConstraint(
            "(until_day IS NULL) <> (days_before IS NULL)", name=op.f("pay_refund_step_day_check")
        ),
        _tournament("pay_refund_step"),
        sa.PrimaryKeyConstraint("tournament_id", "number", name=op.f("pay_refund_step_pkey")),
    )


def downgrade() -> None:
    """Drop the tables: fees are the tournament's own on all days, and refunds propose all that is left."""
    op.drop_table("pay_refund_step")
    op.drop_table("pay_fee_period")


def _who_set_it() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", types.UtcDateTime(), nullable=False),
    )


def _tournament(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tournament_id"],
        [current().key("Tournament")],
        name=op.f(f"{table}_tournament_id_fkey"),
        ondelete="CASCADE",
    )
