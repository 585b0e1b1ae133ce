"""What the readers of bank statements share: accounts, amounts, days, and the proof by balances."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.payouts import BankLine
from procomp_pay.domain.text import N_

AGAIN = N_("export the statement from the bank again and give the file as it came")


@dataclass(frozen=True, slots=True)
class BankFile:
    """A statement of one account.

    :param kind: what it was read as.
    :param told: the first and the last day of which it says that it has all lines; empty if it does not say.
    """

    account: str
    kind: str
    lines: list[BankLine]
    told: tuple[date, ...] = ()

    @property
    def days(self) -> tuple[date, date] | None:
        """Return the first and the last day of which it has all lines; ``None`` if nothing shows them."""
        days = [*self.told, *(line.booked_on for line in self.lines)]
        return (min(days), max(days)) if days else None


def plain_account(account: str) -> str:
    """Return an account's number without spaces, in capitals."""
    return re.sub(r"\s", "", account).upper()


def other_account(wanted: str, accounts: list[str]) -> NoReturn:
    """Raise the error for a file of another account."""
    raise InvalidFile(
        N_(
            "The statement is of %(accounts)s, not of %(wanted)s",
            accounts=", ".join(accounts) or N_("no account"),
            wanted=wanted,
        ),
        next_step=N_("give the statement of the right account, or leave --account out"),
    )


def chosen_account(accounts: list[str], wanted: str | None) -> str:
    """Return the account of a file that is to be read.

    :raises InvalidFile: it is of several, or not of the wanted one.
    """
    if wanted is not None and wanted not in accounts:
        other_account(wanted, accounts)
    if wanted is None and len(accounts) != 1:
        raise InvalidFile(
            N_(
                "The statement is of several accounts (%(n)s): %(accounts)s",
                n=len(accounts),
                accounts=", ".join(accounts[:5]),
            ),
            next_step=N_("say which one to read: --account NUMBER"),
        )
    return wanted or accounts[0]


def money(text: str, line: int | None = None) -> Decimal:
    """Parse an amount with a point or a comma and any spaces.

    :raises InvalidFile: it is none, or has more than two decimals.
    """
    bare = re.sub(r"[\s']", "", text).replace(",", ".")
    try:
        amount = Decimal(bare) if re.fullmatch(r"[+-]?\d{1,13}(\.\d{1,2})?", bare) else None
    except InvalidOperation:
        amount = None
    if amount is None:
        raise InvalidFile(N_("“%(value)s” is not an amount", value=text[:30]), next_step=AGAIN, line=line)
    return amount.quantize(Decimal("0.01"))


def check_sum(opening: Decimal, moved: Decimal, closing: Decimal) -> None:
    """Check that the balances and the lines of a statement agree.

    :raises InvalidFile: lines are missing, or there are too many.
    """
    if opening + moved != closing:
        raise InvalidFile(
            N_(
                "The statement does not add up: %(opening)s and its lines of %(moved)s are %(sum)s, but it "
                "ends with %(closing)s. A part of it is missing; nothing was used",
                opening=opening,
                moved=f"{moved:+}",
                sum=opening + moved,
                closing=closing,
            ),
            next_step=AGAIN,
        )


def day_of(text: str, line: int | None = None) -> date:
    """Parse a day as banks write it.

    :raises InvalidFile: it is none.
    """
    for form in ("%d.%m.%Y", "%Y-%m-%d", "%d.%m.%y"):
        try:
            return datetime.strptime(text.strip()[:10], form).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            continue
    raise InvalidFile(N_("“%(value)s” is not a day", value=text[:30]), next_step=AGAIN, line=line)
