"""Read SWIFT MT940 through the library ``mt-940``, and prove by its balances that nothing is missing."""

from __future__ import annotations

import logging
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.payouts import BankLine
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import AGAIN, BankFile, check_sum, chosen_account, plain_account


def read_mt940(content: bytes, wanted: str | None) -> BankFile:
    """Read a whole file, of one or several statements.

    :raises InvalidFile: cut, damaged, of another account, or its balances and lines do not agree.
    """
    text, encoding = _decoded(content)
    statements = [_parsed(block) for block in re.split(r"(?m)^(?=:20:)", text) if block.startswith(":20:")]
    names = [
        plain_account(re.split(r"[/ ]", str(s.data.get("account_identification", "")))[-1])
        for s in statements
    ]
    account = chosen_account(sorted(set(names)), wanted)
    lines: list[BankLine] = []
    last: Decimal | None = None
    told: list[date] = []
    for name, statement in zip(names, statements, strict=True):
        if name != account:
            continue
        found = [_line(entry.data, account) for entry in statement]
        (opening, after), (closing, until) = _balance(statement, "opening"), _balance(statement, "closing")
        # the opening balance is that of the end of its day
        told += [min(after + timedelta(days=1), until), until]
        if last is not None and opening != last:
            raise InvalidFile(
                N_(
                    "A statement ends with %(last)s and the next one begins with %(opening)s: one between "
                    "them is missing. Nothing was used",
                    last=last,
                    opening=opening,
                ),
                next_step=AGAIN,
            )
        check_sum(opening, sum((line.amount for line in found), Decimal("0.00")), closing)
        lines, last = lines + found, closing
    return BankFile(account, f"MT940 ({encoding})", lines, tuple(told))


def _decoded(content: bytes) -> tuple[str, str]:
    for encoding, name in (("utf-8-sig", "UTF-8"), ("cp1251", "cp1251")):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\N{REPLACEMENT CHARACTER}" not in text:
            return text.replace("\r\n", "\n"), name
    raise InvalidFile(N_("The file is damaged: it is no text in UTF-8 or cp1251"), next_step=AGAIN)


def _parsed(block: str) -> Any:
    import mt940

    # it logs each line that it cannot read with its own patterns, which would go to the clerk's terminal
    logging.getLogger("mt940").setLevel(logging.CRITICAL)
    entries = len(re.findall(r"(?m)^:61:", block))
    try:
        # a credit that is taken back (RC) is a debit
        options = mt940.Options(reversal_sign=True, case_insensitive_marks=True)
        statement: Any = mt940.parse(block, options=options)
    except Exception as error:  # the library raises what it meets: RuntimeError, ValueError, KeyError
        why = str(error)[:120]
        raise InvalidFile(N_("The statement cannot be read: %(why)s", why=why), next_step=AGAIN) from None
    if len(statement) != entries:
        raise InvalidFile(
            N_("Only %(read)s of %(n)s lines (:61:) could be read", read=len(statement), n=entries),
            next_step=AGAIN,
        )
    return statement


def _balance(statement: Any, which: str) -> tuple[Decimal, date]:
    """Return a balance and its day."""
    for kind in ("final", "intermediate"):
        balance = statement.data.get(f"{kind}_{which}_balance")
        if balance is not None:
            return Decimal(balance.amount.amount), balance.date
    if which == "opening":
        why = N_("A statement has no opening balance (:60F:): it was cut. Nothing was used")
    else:
        why = N_("A statement has no closing balance (:62F:): it was cut. Nothing was used")
    raise InvalidFile(why, next_step=AGAIN)


def _line(data: dict[str, Any], account: str) -> BankLine:
    number = data.get("customer_reference") or ""
    party = " ".join(filter(None, (data.get("bank_reference"), data.get("extra_details"))))
    return BankLine(
        account=account,
        booked_on=data.get("entry_date") or data["date"],
        amount=Decimal(data["amount"].amount),
        currency=str(data["amount"].currency),
        number="" if number == "NONREF" else number,
        party=party,
        purpose=" ".join(str(data.get("transaction_details") or "").split()),
    )
