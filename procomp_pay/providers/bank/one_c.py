"""Read ``1CClientBankExchange``, with the field names of Russia and of Kazakhstan.

Source: https://v8.1c.ru/tekhnologii/obmen-dannymi-i-integratsiya/standarty-i-formaty/standart-obmena-s-sistemami-klient-banka/
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.payouts import BankLine
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import (
    AGAIN,
    BankFile,
    check_sum,
    chosen_account,
    day_of,
    money,
    plain_account,
)

_Fields = dict[str, str]
#: The first and the last day of the file, and of an account's part of it.
_DAYS = ("ДатаНачала", "ДатаКонца")
_ENDS = {"СекцияРасчСчет": "КонецРасчСчет", "СекцияДокумент": "КонецДокумента"}


def read_1c(content: bytes, wanted: str | None) -> BankFile:
    """Read a whole file.

    :raises InvalidFile: cut, damaged, of another account, or its sums do not agree.
    """
    text, encoding = _decoded(content)
    head, accounts, documents = _sections(text.splitlines())
    by_account: dict[str, list[_Fields]] = defaultdict(list)
    for fields in accounts:
        by_account[plain_account(fields.get("РасчСчет", ""))].append(fields)
    if not by_account and head.get("РасчСчет"):
        by_account[plain_account(head["РасчСчет"])] = []
    account = chosen_account(sorted(by_account), wanted)
    only = len(by_account) == 1
    lines = [found for each in documents if (found := _line(each, account, only=only)) is not None]
    _check(by_account[account], lines)
    told = [day_of(day) for part in (head, *by_account[account]) for day in map(part.get, _DAYS) if day]
    return BankFile(account, f"1C ({encoding})", lines, tuple(told))


def _decoded(content: bytes) -> tuple[str, str]:
    for encoding, name in (("utf-8-sig", "UTF-8"), ("cp1251", "cp1251"), ("cp866", "cp866")):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "РасчСчет" in text and "\N{REPLACEMENT CHARACTER}" not in text:
            return text, name
    raise InvalidFile(
        N_(
            "The file is damaged: its field names cannot be read in any encoding of 1C (cp1251, cp866, UTF-8)"
        ),
        next_step=AGAIN,
    )


def _sections(lines: list[str]) -> tuple[_Fields, list[_Fields], list[_Fields]]:
    head: _Fields = {}
    found: dict[str, list[_Fields]] = {name: [] for name in _ENDS}
    fields, end, ended = head, "", False
    for number, line in enumerate(lines, start=1):
        name, _, value = line.strip().partition("=")
        if name in _ENDS:
            if end:
                raise InvalidFile(
                    N_("%(name)s begins before %(end)s", name=name, end=end), next_step=AGAIN, line=number
                )
            fields, end = {}, _ENDS[name]
            found[name].append(fields)
        elif name and name == end:
            fields, end = {}, ""
        elif name == "КонецФайла":
            ended = not end
            break
        elif name:
            fields.setdefault(name, value.strip())
    if not ended:
        raise InvalidFile(
            N_("The file has no end (КонецФайла): it was cut, and lines are missing. Nothing was used"),
            next_step=AGAIN,
        )
    return head, found["СекцияРасчСчет"], found["СекцияДокумент"]


def _line(fields: _Fields, account: str, *, only: bool) -> BankLine | None:
    """Return a document's line; ``None`` if it is of another account of the file."""
    payer, payee = (
        _first(fields, "ПлательщикСчет", "ПлательщикИИК"),
        _first(fields, "ПолучательСчет", "ПолучательИИК"),
    )
    is_out, is_in = plain_account(payer) == account, plain_account(payee) == account
    if fields.get("СуммаПриход") or fields.get("СуммаРасход"):
        if not (only or is_out or is_in):
            return None
        amount = money(fields.get("СуммаПриход") or "0") - money(fields.get("СуммаРасход") or "0")
    elif is_out or is_in:
        amount = money(fields.get("Сумма", "")) * (is_in - is_out)
    elif only:
        raise InvalidFile(
            N_(
                "Document %(number)s does not say whether the account paid or was paid",
                number=_first(fields, "Номер", "НомерДокумента")[:40],
            ),
            next_step=AGAIN,
        )
    else:
        return None
    came = amount >= 0
    moved = "ДатаПоступило" if came else "ДатаСписано"
    party = ("ПлательщикНаименование", "Плательщик1", "Плательщик")
    if not came:
        party = ("ПолучательНаименование", "Получатель1", "Получатель")
    return BankLine(
        account=account,
        booked_on=day_of(_first(fields, "ДатаОперации", moved, "ДатаДокумента", "Дата")),
        amount=amount,
        currency=_first(fields, "Валюта", "ВалютаДокумента") or "KZT",
        number=_first(fields, "НомерДокумента", "Номер"),
        party=_first(fields, *party),
        purpose=_first(fields, "НазначениеПлатежа", "НазначениеПлатежа1"),
    )


def _check(sections: list[_Fields], lines: list[BankLine]) -> None:
    """Check the account's balances: those of the first section and of the last one."""
    if not sections or "НачальныйОстаток" not in sections[0]:
        raise InvalidFile(
            N_("The file has no opening balance, so it cannot be proven whole"), next_step=AGAIN
        )
    if "КонечныйОстаток" not in sections[-1]:
        raise InvalidFile(N_("The file has no closing balance: it was cut"), next_step=AGAIN)
    moved = sum((line.amount for line in lines), Decimal("0.00"))
    check_sum(money(sections[0]["НачальныйОстаток"]), moved, money(sections[-1]["КонечныйОстаток"]))


def _first(fields: _Fields, *names: str) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")
