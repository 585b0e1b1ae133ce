"""Find the columns of a statement by their headers, whatever their order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum

from procomp_pay.providers.tabular.cells import MOST_COLUMNS


class ColumnRole(StrEnum):
    """The role of a column. A mapping file uses these words."""

    ROW = "row"  # the line's number within the report
    ID = "id"  # the line's own id, where it is not the operation's
    OPERATION = "operation"  # Kaspi's operation number; Stripe's source
    PAYMENT = "payment"  # the provider's id of the payment: QrPaymentId, pi_…
    PURCHASE = "purchase"  # the number of the purchase that a refund belongs to
    DATE = "date"  # with or without the time of day
    TIME = "time"
    TYPE = "type"
    METHOD = "method"  # how it was paid
    CHANNEL = "channel"  # and where
    STATUS = "status"
    CURRENCY = "currency"
    AMOUNT = "amount"  # gross
    FEE = "fee"
    NET = "net"
    CUSTOMER_AMOUNT = "customer_amount"  # where the balance has another currency
    CUSTOMER_CURRENCY = "customer_currency"
    DESCRIPTION = "description"


_CYRILLIC = re.compile(r"[а-я]")
_LATIN = re.compile(r"[a-z]")
#: Latin letters that look like Cyrillic ones. They are typed by mistake, even in the providers' own headers.
_LOOKALIKES = str.maketrans("aceopxykmthb", "асеорхукмтнв")
_UNITS = frozenset({"т", "тг", "тенге", "теңге", "kzt", "₸"})
_MARKS = {"№": " номер ", "#": " номер ", "%": " процент ", "₸": " ₸ "}


def header_key(header: str) -> str:
    """Return a header without case, punctuation, ``ё`` and its unit (``(т)``, ``, тг``), to compare it."""
    folded = header
    for mark, word in _MARKS.items():
        folded = folded.replace(mark, word)
    folded = unicodedata.normalize("NFKC", folded).casefold().replace("ё", "е")
    words = "".join(c if c.isalnum() or c == "₸" else " " for c in folded).split()
    words = [_one_script(word) for word in words]
    while len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    if len(words) > 1 and words[-1] == "в":
        words.pop()  # of "Сумма в тенге"
    return " ".join(words)


def _one_script(word: str) -> str:
    mixed = _CYRILLIC.search(word) and _LATIN.search(word)
    return word.translate(_LOOKALIKES) if mixed else word


def _keys(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(header_key(name) for name in text.split(",")))


#: For each role its headers, the most specific first.
HeaderNames = Mapping[ColumnRole, tuple[str, ...]]

#: Kaspi Pay's report of operations, and the same columns in other exports. The names vary with the merchant's
#: language and services.
KASPI_HEADERS: HeaderNames = {
    ColumnRole.ROW: _keys("#,№,№ п/п,п/п"),
    ColumnRole.OPERATION: _keys(
        "Номер заказа (ID/RRN),Номер операции,№ операции,ID операции,Номер транзакции,№ транзакции,"
        "ID транзакции,Номер заказа,№ заказа,Номер чека,№ чека,Операция нөмірі,Операцияның нөмірі,"
        "Тапсырыс нөмірі,Тапсырыс нөмірі (ID/RRN),Төлем нөмірі,Транзакция нөмірі,Чек нөмірі,"
        "Operation number,Operation ID,Transaction ID,Transaction number,Order number (ID/RRN),Order number,"
        "Receipt number"
    ),
    ColumnRole.PAYMENT: _keys("QrPaymentId,QR Payment ID,ID платежа,Номер платежа,ID платежа QR,Payment ID"),
    ColumnRole.PURCHASE: _keys(
        "№ документа покупки/возврата,Номер документа покупки/возврата,Номер исходной операции,"
        "Номер операции покупки,Номер покупки,Сатып алу/қайтару құжатының нөмірі,"
        "Purchase/refund document number,Original operation number"
    ),
    ColumnRole.DATE: _keys(
        "Дата и время операции,Дата и время,Дата/время операции,Дата/время,Дата операции,Дата,"
        "Дата платежа,Дата покупки,Операция күні мен уақыты,Күні мен уақыты,Операция күні,"
        "Операцияның күні,Күні,Date and time,Date/time,Operation date,Transaction date,Date"
    ),
    ColumnRole.TIME: _keys(
        "Время операции,Время,Операция уақыты,Операцияның уақыты,Уақыты,Уақыт,Operation time,Time"
    ),
    ColumnRole.TYPE: _keys(
        "Тип операции,Вид операции,Операция,Операция түрі,Операцияның түрі,Operation type,Transaction type,"
        "Type"
    ),
    ColumnRole.METHOD: _keys("Способ оплаты,Тип оплаты,Төлем тәсілі,Төлем әдісі,Төлем түрі,Payment method"),
    ColumnRole.CHANNEL: _keys("Канал оплаты,Төлем арнасы,Payment channel"),
    ColumnRole.STATUS: _keys("Статус,Статус операции,Состояние,Мәртебесі,Күйі,Операция күйі,Status"),
    ColumnRole.CURRENCY: _keys("Валюта,Валюта операции,Валютасы,Currency"),
    ColumnRole.AMOUNT: _keys(
        "Сумма операции,Сумма платежа,Сумма покупки,Сумма,Операция сомасы,Операцияның сомасы,Сомасы,Сома,"
        "Operation amount,Transaction amount,Gross amount,Gross,Amount"
    ),
    ColumnRole.FEE: _keys(
        "Комиссия за операции,Комиссия за операцию,Комиссия Kaspi Pay,Комиссия,Стоимость услуг Kaspi,"
        "Kaspi қызметтерінің құны,Операция үшін комиссия,"
        "Операциялар үшін комиссия,Комиссиясы,Commission,Fee"
    ),
    ColumnRole.NET: _keys(
        "Сумма к зачислению/списанию,Сумма к зачислению,К зачислению,Сумма зачисления,"
        "Есепке алынатын/есептен шығарылатын сома,Аударылатын сома,Есепке алынатын сома,"
        "Net amount,Net,Amount to credit/debit"
    ),
    ColumnRole.DESCRIPTION: _keys(
        "Детали покупки,Описание,Назначение платежа,Назначение,Комментарий,Сатып алу мәліметтері,Сипаттамасы,"
        "Purchase details,Description,Details,Comment"
    ),
}

#: Stripe's "balance change from activity", itemized, all editions, and the older export of all activity.
#: Source: https://docs.stripe.com/reports/report-types/balance
STRIPE_HEADERS: HeaderNames = {
    ColumnRole.ID: _keys("balance_transaction_id,id"),
    ColumnRole.OPERATION: _keys("source_id,source"),
    ColumnRole.PAYMENT: _keys("payment_intent_id,payment_intent"),
    ColumnRole.DATE: _keys("created_utc,created (utc),created"),
    ColumnRole.TYPE: _keys("reporting_category,type"),
    ColumnRole.CURRENCY: _keys("currency"),
    ColumnRole.AMOUNT: _keys("gross,amount"),
    ColumnRole.FEE: _keys("fee"),
    ColumnRole.NET: _keys("net"),
    ColumnRole.CUSTOMER_AMOUNT: _keys("customer_facing_amount"),
    ColumnRole.CUSTOMER_CURRENCY: _keys("customer_facing_currency"),
    ColumnRole.DESCRIPTION: _keys("description"),
}


class AmbiguousHeaderError(Exception):
    """Two columns could each have one role."""

    def __init__(self, role: ColumnRole, headers: Sequence[str]) -> None:
        super().__init__(role)
        self.role = role
        self.headers = tuple(headers)


def find_columns(headers: Sequence[str], known: HeaderNames) -> dict[ColumnRole, int]:
    """Return the place of each role: of several headers with one role, the most specific one's.

    :raises AmbiguousHeaderError: the most specific header of a role appears twice.
    """
    places: dict[str, list[int]] = {}
    for place, header in enumerate(headers[:MOST_COLUMNS]):
        places.setdefault(header_key(header), []).append(place)
    columns: dict[ColumnRole, int] = {}
    for role, keys in known.items():
        for key in keys:
            if key not in places:
                continue
            if len(places[key]) > 1:
                raise AmbiguousHeaderError(role, [headers[place] for place in places[key]])
            columns[role] = places[key][0]
            break
    return columns


def has_cyrillic(headers: Sequence[str]) -> bool:
    """Return whether any of the headers is written in Cyrillic."""
    return any(_CYRILLIC.search(header_key(header)) for header in headers)
