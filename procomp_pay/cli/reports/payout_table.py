"""Where the money of payouts is, as a table of the report and of the closing sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports.cells import Cell, Section, columns
from procomp_pay.domain.payouts import PayoutState
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.payouts.view import PayoutSums

#: Where the money of a payout is.
WORDS = {
    PayoutState.ARRIVED: N_("arrived at the bank"),
    PayoutState.ON_THE_WAY: N_("on the way to the bank"),
    PayoutState.MISSING: N_("missing at the bank"),
    PayoutState.NO_BANK_LINES: N_("unknown: no statement of the bank covers those days"),
    PayoutState.FAILED: N_("failed, back at the provider"),
    PayoutState.RETURNED: N_("arrived, and was returned"),
    PayoutState.DIFFERS: N_("arrived with another sum"),
    PayoutState.NOTHING_DUE: N_("nothing due"),
}


def sections(sums: Sequence[PayoutSums]) -> list[Section]:
    """Return the table; nothing where no payout was read."""
    rows: list[list[Cell]] = [
        [each.currency, _(word), *each.by_state[state]]
        for each in sums
        for state, word in WORDS.items()
        if state in each.by_state
    ]
    table = Section(_("Payouts to the bank"), columns("Currency|Where|Number|Amount"), rows)
    return [table] if rows else []
