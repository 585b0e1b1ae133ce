"""Kaspi invoices to a phone number: a channel of their own, and the number, encrypted.

Revision: 0009.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHECK = "pay_payment_detail_channel_check"
_OLD = "'kaspi_qr', 'kaspi_link', 'kaspi_bill'"
_BEFORE = f"channel IN ({_OLD}, 'stripe_checkout', 'stripe_intent')"
_AFTER = f"channel IN ({_OLD}, 'kaspi_remote', 'stripe_checkout', 'stripe_intent')"


def upgrade() -> None:
    """Only a module table."""
    with _triggers_aside(), op.batch_alter_table("pay_payment_detail") as detail:
        detail.add_column(sa.Column("phone_enc", sa.Text(), nullable=True))
        detail.drop_constraint(op.f(_CHECK), type_="check")
        detail.create_check_constraint(op.f(_CHECK), _AFTER)


def downgrade() -> None:
    """Back; an invoice is called a QR payment, which is what its method says. The numbers go."""
    op.execute("UPDATE pay_payment_detail SET channel = 'kaspi_qr' WHERE channel = 'kaspi_remote'")
    with _triggers_aside(), op.batch_alter_table("pay_payment_detail") as detail:
        detail.drop_constraint(op.f(_CHECK), type_="check")
        detail.create_check_constraint(op.f(_CHECK), _BEFORE)
        detail.drop_column("phone_enc")


@contextmanager
def _triggers_aside() -> Iterator[None]:
    """SQLite rebuilds the table under another name, which no trigger that reads it may see."""
    if op.get_bind().dialect.name != "sqlite":
        yield
        return
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%pay_payment_detail%'"
    found = op.get_bind().execute(sa.text(query)).all()
    for name, _ in found:
        op.execute(f'DROP TRIGGER "{name}"')
    yield
    for _, statement in found:
        op.get_bind().exec_driver_sql(statement)
