"""Map the words of a statement's type, status and currency columns to kinds, outcomes and codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.layout.headers import header_key

#: Words normalised by :func:`header_key`, and the line kind of each.
Words = Mapping[str, LineKind]


def _words(kind: LineKind, text: str) -> dict[str, LineKind]:
    return {header_key(word): kind for word in text.split(",")}


KASPI_WORDS: Words = {
    **_words(
        LineKind.PAYMENT,
        "Покупка,Оплата,Продажа,Платеж,Оплата покупки,Покупка QR,Kaspi QR,Сатып алу,Төлем,Сату,"
        "Payment,Purchase,Sale",
    ),
    **_words(
        LineKind.REFUND,
        "Возврат,Возврат покупки,Возврат оплаты,Возврат платежа,Возврат товара,Қайтару,Сатып алуды қайтару,"
        "Төлемді қайтару,Refund,Return",
    ),
    **_words(
        LineKind.OTHER,
        "Комиссия,Удержание комиссии,Возврат комиссии,Абонентская плата,Вывод,Вывод средств,Перевод,Выплата,"
        "Пополнение,Зачисление,Списание,Корректировка,Аударым,Аудару,Fee,Commission,Payout,Transfer,"
        "Adjustment,Withdrawal",
    ),
}

#: Stripe's reporting categories, and the types of the older export.
#: Source: https://docs.stripe.com/reports/reporting-categories
STRIPE_WORDS: Words = {
    **_words(LineKind.PAYMENT, "charge,payment"),
    **_words(LineKind.REFUND, "refund,payment_refund"),
    **_words(LineKind.REFUND_FAILED, "refund_failure,payment_refund_failure"),
    **_words(LineKind.DISPUTE, "dispute"),
    **_words(LineKind.DISPUTE_REVERSED, "dispute_reversal"),
    **_words(
        LineKind.OTHER,
        "fee,stripe_fee,stripe_fx_fee,tax,tax_fee,network_cost,payout,payout_reversal,payout_cancel,"
        "payout_failure,payout_minimum_balance_hold,payout_minimum_balance_release,transfer,"
        "transfer_reversal,transfer_refund,transfer_cancel,transfer_failure,topup,topup_reversal,"
        "platform_earning,platform_earning_refund,application_fee,application_fee_refund,other_adjustment,"
        "reserve_transaction,reserved_funds,risk_reserved_funds,reserve_hold,reserve_release,contribution,"
        "advance,advance_funding,anticipation_repayment,connect_reserved_funds,connect_collection_transfer,"
        "unreconciled_customer_funds,climate_order_purchase,climate_order_refund,obligation",
    ),
}
#: Prefixes of Stripe ids that belong to a payment: such a line must not be ignored.
STRIPE_PAYMENT_IDS = ("ch_", "py_", "pi_", "re_", "pyr_", "dp_", "du_")

_DONE = _words(
    LineKind.PAYMENT,
    "Успешно,Успешная,Успешный,Исполнено,Исполнена,Исполнен,Проведено,Проведена,Проведен,Оплачено,Оплачен,"
    "Завершено,Завершена,Завершен,Выполнено,Выполнена,Сәтті,Орындалды,Төленді,Аяқталды,Success,Successful,"
    "Succeeded,Completed,Done,Paid,Processed",
).keys()
_UNDONE = _words(
    LineKind.OTHER,
    "Отклонено,Отклонена,Отклонен,Отменено,Отменена,Отменен,Не успешно,Неуспешно,Неуспешная,Ошибка,"
    "Қабылданбады,Бас тартылды,Қате,Declined,Rejected,Failed,Cancelled,Canceled,Error",
).keys()


@lru_cache(maxsize=1024)
def _key(text: str) -> str:
    """Return a word normalised; cached, since a file repeats a few words in every line."""
    return header_key(text)


def kind_of(text: str, words: Words) -> LineKind | None:
    """Return the line kind of a type, ``None`` if it is not known."""
    key = _key(text)
    if key in words:
        return words[key]
    # "Покупка в рассрочку", "Возврат покупки в кредит"; a commission is neither of the two
    if words is KASPI_WORDS and "комисси" not in key:
        for word, kind in (("покупка ", LineKind.PAYMENT), ("возврат ", LineKind.REFUND)):
            if key.startswith(word) and "отмен" not in key:
                return kind
    return None


def is_done(text: str) -> bool | None:
    """Return whether a status means that the money moved; ``None`` if it is not known."""
    key = _key(text)
    if not key or key in _DONE:
        return True
    return False if key in _UNDONE else None


#: Sales that Kaspi Pay only records: in cash, or by another bank's terminal. "Безналичный" and "қолма-қолсыз"
#: mean the opposite.
_CASH = re.compile(r"(?<!без)налич|\bнал\b|қолма қол(?!сыз)|\bcash\b")
_OTHER_TERMINAL = re.compile(r"\bpos (?:другого банка|басқа банк|of another bank)")


def is_only_recorded(*words: str) -> bool:
    """Return whether Kaspi Pay records a sale that Kaspi does not pay out.

    :param words: the cells of the type, method and channel columns.
    """
    return any(_CASH.search(key) or _OTHER_TERMINAL.search(key) for key in map(_key, words))


_TOTALS = ("итого", "всего", "барлығы", "жиыны", "жалпы", "total", "grand total", "sum", "сумма итого")


def is_total(text: str) -> bool:
    """Return whether a text is the label of a total."""
    key = header_key(text)
    return any(key == word or key.startswith(f"{word} ") for word in _TOTALS)


_CURRENCIES = {
    "₸": "KZT",
    "тенге": "KZT",
    "теңге": "KZT",
    "тг": "KZT",
    "т": "KZT",
    "$": "USD",
    "€": "EUR",
} | {
    "₽": "RUB",
    "руб": "RUB",
    "доллар сша": "USD",
    "евро": "EUR",
}


def currency_code(text: str) -> str:
    """Return a currency's code in upper case; signs (``₸``) and usual words (``тенге``) are known."""
    plain = text.strip().casefold().rstrip(".")
    return _CURRENCIES.get(plain, plain.upper())
