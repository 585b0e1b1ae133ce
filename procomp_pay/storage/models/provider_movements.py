"""The table of movements at the providers."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.storage.models import platform  # noqa: F401 - a foreign key refers to it
from procomp_pay.storage.models.columns import Row, check_word, key, moment, payment_key, text, word
from procomp_pay.storage.models.columns import amount as money


class ProviderMovement(Row, table=True):
    """One movement at a provider: a payment, a refund, a dispute, or the reversal of one.

    Written only by ``reconcile``, at most once for each movement, read by API or from a file; never changed.
    Movements that belong to none of our payments (payouts, transfers) are left out.

    ``amount`` is signed as the balance moves: a payment is positive, a refund negative. ``net`` is ``amount``
    minus ``fee``. A fee that a statement does not report is ``NULL``, and so is its net; a returned fee
    (a dispute that was won) is negative. ``currency`` is that of the provider's balance: not always the
    payment's own, nor one that we accept.
    """

    __tablename__ = "pay_settlement"
    __table_args__ = (
        check_word("kind", LineKind),
        UniqueConstraint("provider", "kind", "ref"),
        Index(None, "payment_id"),
        Index(None, "at"),
    )

    id: str = Field(sa_column=key())
    #: ``stripe`` or ``kaspi``.
    provider: str = Field(sa_column=text("provider"))
    payment_id: str = Field(sa_column=text("payment_id", payment_key()))
    kind: LineKind = Field(sa_column=word("kind", LineKind))
    #: The provider's id of the object that moved it: ``ch_…``, ``re_…``, ``du_…``, a Kaspi operation number.
    ref: str = Field(sa_column=text("ref"))
    #: Stripe's ``txn_…``, if it is known.
    balance_transaction_id: str | None = Field(
        default=None, sa_column=text("balance_transaction_id", null=True, unique=True)
    )
    amount: Decimal = Field(sa_column=money("amount"))
    fee: Decimal | None = Field(default=None, sa_column=money("fee", null=True))
    net: Decimal | None = Field(default=None, sa_column=money("net", null=True))
    currency: str = Field(sa_column=text("currency"))
    #: When the money moved, by the provider's clock.
    at: datetime = Field(sa_column=moment("at"))
    #: ``stripe_api`` or ``statement``.
    source: str = Field(sa_column=text("source"))
    recorded_at: datetime = Field(sa_column=moment("recorded_at"))
