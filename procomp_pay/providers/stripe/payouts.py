"""List Stripe's payouts and what is in them.

Sources: https://docs.stripe.com/api/payouts, https://docs.stripe.com/api/balance_transactions/list and
https://docs.stripe.com/reports/reporting-categories.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol

from procomp_pay.domain.payouts import REVERSAL, BalanceLine
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.stripe.listing import KINDS, window
from procomp_pay.providers.stripe.objects import Object

#: The types of balance transactions that are costs of the account, of no payment.
_COST_TYPES = ("stripe_fee", "network_cost", "tax_fee", "stripe_fx_fee")


class StripePages(Protocol):
    """The listing call of :class:`procomp_pay.providers.stripe.service.StripePaymentService`."""

    def pages(self, kind: str, params: dict[str, Any]) -> AsyncIterator[list[Object]]: ...


@dataclass(frozen=True, slots=True)
class StripePayout:
    """A payout. ``expected_on`` is the day on which Stripe expects it at the bank.

    :param status: ``pending``, ``in_transit``, ``paid``, ``failed`` or ``canceled``.
    """

    ref: str
    amount: Decimal
    currency: str
    status: str
    expected_on: date
    trace: str | None = None
    failure: str | None = None
    #: What put a failed payout on the balance again, described by the payout's id.
    reversal: BalanceLine | None = None


async def payouts(stripe: StripePages, since: datetime, until: datetime) -> AsyncIterator[list[StripePayout]]:
    """Yield the payouts that were made in a window, a page at a time.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    params = window(since, until) | {"expand": ["data.failure_balance_transaction"]}
    async for page in stripe.pages("payouts", params):
        yield [_payout(item) for item in page]


async def entries(stripe: StripePages, payout: str) -> AsyncIterator[list[BalanceLine]]:
    """Yield what is in a payout, a page at a time. Stripe knows it for automatic payouts only.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    params = {"payout": payout, "expand": ["data.source"]}
    async for page in stripe.pages("balance_transactions", params):
        # the payout itself is listed too, as what takes the sum off the balance
        yield [_entry(item) for item in page if _source(item).get("id") != payout]


async def costs(stripe: StripePages, since: datetime, until: datetime) -> AsyncIterator[list[BalanceLine]]:
    """Yield the account's own costs of a window, of no payment: Radar, network costs, taxes.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    for type_ in _COST_TYPES:
        async for page in stripe.pages("balance_transactions", {**window(since, until), "type": type_}):
            yield [_entry(item) for item in page]


def costs_among(page: list[Object]) -> list[BalanceLine]:
    """Return those of some balance transactions that are the account's own costs."""
    return [_entry(item) for item in page if item["type"] in _COST_TYPES]


def _payout(item: Object) -> StripePayout:
    trace = item.get("trace_id") or {}
    reversal = item.get("failure_balance_transaction")
    return StripePayout(
        ref=item["id"],
        amount=Decimal(item["amount"]).scaleb(-2),
        currency=str(item["currency"]).upper(),
        status=str(item["status"]),
        expected_on=datetime.fromtimestamp(item["arrival_date"], UTC).date(),
        trace=trace.get("value"),
        failure=item.get("failure_message") or item.get("failure_code"),
        reversal=_entry(reversal) if reversal else None,
    )


def _source(item: Object) -> Object:
    source = item.get("source")
    return {"id": source} if isinstance(source, str) else source or {}


def _entry(item: Object) -> BalanceLine:
    source = _source(item)
    refs = (source.get("payment_intent"), source.get("charge"), source.get("id"))
    category = str(item["reporting_category"])
    return BalanceLine(
        kind=KINDS.get(category, LineKind.OTHER),
        ref=item["id"],
        category=category,
        amount=Decimal(item["amount"]).scaleb(-2),
        fee=Decimal(item["fee"]).scaleb(-2),
        net=Decimal(item["net"]).scaleb(-2),
        currency=str(item["currency"]).upper(),
        at=datetime.fromtimestamp(item["created"], UTC),
        # a failed payout is found by the movement that names it
        description=(source.get("id") if category == REVERSAL else item.get("description")) or "",
        source=source.get("id") or "",
        payment_refs=tuple(ref for ref in refs if isinstance(ref, str)),
    )
