"""CSV statements, and everything that can be wrong with them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation import statement_summary
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.reader import open_statement
from tests.support.statement_files import HEADS, STRIPE, kaspi, read, stripe, text

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: str | bytes, encoding: str = "utf-8", name: str = "export.dat") -> Path:
        path = tmp_path / name  # the name says nothing: the content decides
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def refused(path: Path, **how: Any) -> InvalidFile:
    with pytest.raises(InvalidFile) as caught:
        read(path, **how)
    assert caught.value.exit_code == 3
    assert caught.value.next_step
    return caught.value


def tenge(amount: str) -> Money:
    return Money(Decimal(amount), Currency.KZT)


def test_kaspi_report_is_read(save: Save) -> None:
    title = [["", "Детальная информация по операциям"], ["", "Период", "01.10.2026 - 31.10.2026"], []]
    rows = [
        *title,
        HEADS,
        kaspi(1),
        kaspi(2, type="Возврат", amount="-5000,00", fee="-47,50", net="-4952,50"),
    ]
    path = save(text([*rows, ["Итого", *[""] * 8, "19 000,00", "", "18 819,50"], ["Подпись директора"]]))
    with open_statement(path) as statement:
        paid, back = list(statement)
    assert (statement.provider, statement.kind, statement.layout.row) == ("kaspi", "CSV (UTF-8, ;)", 4)
    assert statement.layout.ignored == ["Адрес точки продаж", "Дата учета операции"]
    assert (paid.number, paid.kind, paid.ref) == (5, LineKind.PAYMENT, "12800000001")
    assert paid.at == datetime(2026, 10, 1, 7, 1, tzinfo=UTC)
    assert (paid.money, paid.fee, paid.net) == (tenge("24000"), Decimal("228.00"), Decimal("23772.00"))
    assert (back.kind, back.money, back.fee) == (LineKind.REFUND, tenge("5000"), Decimal("-47.50"))
    summary = statement.summary
    assert [(each.amount, each.agrees) for each in summary.totals] == [(Decimal("19000.00"), True)]
    assert (summary.remarks, summary.skipped_count, summary.needs_person) == (1, 0, False)
    assert summary.counts == {LineKind.PAYMENT: 1, LineKind.REFUND: 1}


@pytest.mark.parametrize(
    ("above", "owner"),
    [
        ([["", "ИИН/БИН", "012345678901"]], "012345678901"),
        ([["", "ЖСН/БСН: 012345678901", ""]], "012345678901"),
        ([["", "Период", "01.10.2026"], ["БИН", 12345678901]], "012345678901"),  # as a workbook's number
        ([["", "Договор", "012345678901"]], None),
        ([["БИН", "012345678901"], ["БИН", "012345678902"]], None),
        ([], None),
    ],
)
def test_owner_is_found_above_the_headers(save: Save, above: list[list[object]], owner: str | None) -> None:
    with open_statement(save(text([*above, HEADS, kaspi(1)]))) as statement:
        assert statement.owner == owner


def test_total_that_does_not_add_up_needs_review(save: Save) -> None:
    _, summary = read(save(text([HEADS, kaspi(1), ["Всего", *[""] * 8, "24 500,00", "", ""]])))
    assert not summary.totals[0].agrees
    assert summary.needs_person


def test_stripe_report_is_read(save: Save) -> None:
    refund = stripe(
        2, gross="-50.00", fee="0.00", net="-50.00", reporting_category="refund", source_id="re_1"
    )
    payout = stripe(3, gross="-90000000000.00", fee="0", net="-90000000000.00", reporting_category="payout")
    lines, summary = read(save(text([STRIPE, stripe(1), refund, payout], ",")))
    assert [(each.kind, each.ref, each.payment_ref) for each in lines] == [
        (LineKind.PAYMENT, "ch_1", "pi_1"),
        (LineKind.REFUND, "re_1", "pi_2"),
    ]
    assert lines[0].money == Money(Decimal(50), Currency.USD)
    assert (lines[0].fee, lines[0].net) == (Decimal("1.75"), Decimal("48.25"))
    assert lines[0].at == datetime(2026, 10, 1, 7, 1, tzinfo=UTC)
    # a payout is of no payment: too large to keep, and still counted
    assert summary.counts[LineKind.OTHER] == 1
    assert not summary.needs_person


def test_customers_amount_where_stripe_settles_in_another_currency(save: Save) -> None:
    back = {"reporting_category": "refund", "gross": "-45.90", "fee": "0.00", "net": "-45.90"}
    rows = [
        [*stripe(1, currency="eur"), "60.00", "usd"],
        [*stripe(2, source_id="re_1", currency="eur", **back), "-60.00", "USD"],
        [*stripe(3, source_id="re_2", currency="eur", **back), "", ""],  # some editions: of charges alone
        [*stripe(4), "50.00", "usd"],
        [*stripe(5, currency="gbp"), "60.00", "usd"],
        [*stripe(6, currency="eur"), "", "usd"],
    ]
    headers = [*STRIPE, "customer_facing_amount", "customer_facing_currency"]
    lines, summary = read(save(text([headers, *rows], ",")))
    dollars, euros = Money(Decimal(60), Currency.USD), Money(Decimal("45.90"), Currency.EUR)
    assert [(each.money, each.fee, each.net, each.settlement_currency) for each in lines] == [
        (dollars, Decimal("1.75"), Decimal("48.25"), "EUR"),
        (dollars, Decimal(0), Decimal("-45.90"), "EUR"),
        (euros, Decimal(0), Decimal("-45.90"), "EUR"),
        (Money(Decimal(50), Currency.USD), Decimal("1.75"), Decimal("48.25"), None),
        (dollars, Decimal("1.75"), Decimal("48.25"), "GBP"),
    ]
    assert [(each.line, each.column) for each in summary.skipped] == [(7, "customer_facing_amount")]


def test_stripe_line_kinds(save: Save) -> None:
    out = {"gross": "-50.00", "fee": "15.00", "net": "-65.00"}
    back = {"gross": "50.00", "fee": "-15.00", "net": "65.00"}
    rows = [
        stripe(1, reporting_category="dispute", source_id="dp_1", **out),
        stripe(2, reporting_category="dispute_reversal", source_id="dp_1", **back),
        stripe(3, reporting_category="refund_failure", source_id="re_1"),
        stripe(4, reporting_category="adjustment", source_id="dp_2", payment_intent_id="", **out),
        stripe(5, reporting_category="adjustment", source_id="dp_2", payment_intent_id="", **back),
        stripe(6, reporting_category="brand_new_thing", source_id="xx_1", payment_intent_id="", charge_id=""),
        stripe(7, reporting_category="charge_failure"),
    ]
    lines, summary = read(save(text([STRIPE, *rows], ",")))
    assert [line.kind.value for line in lines] == [
        "dispute", "dispute_reversed", "refund_failed", "dispute", "dispute_reversed", "other",
    ]  # fmt: skip
    # one about a payment, of a kind that nobody knows, is for a person
    assert [(each.line, each.reason) for each in summary.skipped] == [
        (8, "the type “charge_failure” is not known")
    ]


def test_line_whose_amounts_do_not_add_up_is_skipped(save: Save) -> None:
    rows = [stripe(1, net="48.26"), stripe(2, gross="-50.00", net="-51.75"), stripe(3)]
    lines, summary = read(save(text([STRIPE, *rows], ",")))
    assert [line.ref for line in lines] == ["ch_3"]
    assert [each.column for each in summary.skipped] == ["net", "gross"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "kz1048"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_ends(save: Save, delimiter: str, encoding: str, end: str) -> None:
    lines, summary = read(save(text([["", "Отчёт"], HEADS, kaspi(1), kaspi(2)], delimiter, end), encoding))
    assert [line.money for line in lines] == [tenge("24000"), tenge("24000")]
    assert [line.ref for line in lines] == ["12800000001", "12800000002"]
    assert not summary.needs_person


def test_kazakh_and_english_headers_in_any_order(save: Save) -> None:
    kazakh = ["Операция сомасы (тг)", "ОПЕРАЦИЯ ТҮРІ", "Уақыты", "Операция күні", "Операция нөмірі"]
    path = save(text([kazakh, ["24000", "Сатып алу", "12:01", "01.10.2026", "12800000001"]]), "kz1048")
    lines, _ = read(path)
    assert (lines[0].ref, lines[0].money, lines[0].kind) == ("12800000001", tenge("24000"), LineKind.PAYMENT)
    english = ["Amount", "Operation type", "Date and time", "Transaction ID"]
    row = ["24000.50", "Refund", "2026-10-01T12:01:00+05:00", "QR12800000001"]
    assert "provider" in str(refused(save(text([english, row]))).next_step)
    lines, _ = read(save(text([english, row])), provider="kaspi")
    assert (lines[0].ref, lines[0].money, lines[0].kind) == (
        "12800000001",
        tenge("24000.50"),
        LineKind.REFUND,
    )


def test_headers_with_lookalikes_units_and_case(save: Save) -> None:
    headers = ["ДАТА  ОПЕРАЦИИ", "Cумма операции, тг.", "тип операции:", "Номер  заказа  (id / rrn)"]
    lines, _ = read(save(text([headers, ["01.10.2026 12:01", "24000", "покупка", "1"]])))
    assert lines[0].money == tenge("24000")


def test_excel_separator_line(save: Save) -> None:
    lines, _ = read(save("sep=|\r\n" + text([HEADS, kaspi(1)], "|")))
    assert (lines[0].number, lines[0].ref) == (3, "12800000001")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("24000", "24000"), ("24 000", "24000"), ("24\u00a0000,00", "24000"), ("24\u2009000.50", "24000.50"),
        ("24\u202f000,5", "24000.5"), ("24'000.00", "24000"), ("24’000", "24000"), ("1,234,567", "1234567"),
        ("24,000.00", "24000"), ("24.000,00", "24000"), ("24 000,00 ₸", "24000"), ("24 000 тг.", "24000"),
        ("+24000", "24000"), ("24000,000", "24000"), ("0,50", "0.50"), ("0,500", "0.50"), ("₸24000", "24000"),
    ],
)  # fmt: skip
def test_amounts_as_people_write_them(save: Save, written: str, meant: str) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, amount=written, net="")], "|")))
    assert [line.money for line in lines] == [tenge(meant)], summary.skipped


@pytest.mark.parametrize(
    "written",
    ["", "24,000", "24.000", "24 00", "2 4000", "24,00,00", "12,34.5.6", "=24000", "abc", "24000,005", "1e5",
     "٢٤", "--5", "100000000", "$24000", "24000-5", "(24000", "0,500,000", "NaN", "inf", "1" * 60],
)  # fmt: skip
def test_ambiguous_amounts_are_skipped(save: Save, written: str) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, amount=written), kaspi(2, amount="5000")], "|")))
    assert [line.number for line in lines] == [3]
    assert (summary.skipped[0].line, summary.skipped[0].column) == (2, "Сумма операции (т)")
    assert summary.needs_person


def test_other_amounts_decide_between_thousands_and_decimals(save: Save) -> None:
    rows = [kaspi(1, amount="24,000", net=""), kaspi(2, amount="1,500.00", net="")]
    lines, _ = read(save(text([HEADS, *rows])))
    assert [line.money for line in lines] == [tenge("24000"), tenge("1500")]
    rows = [kaspi(1, amount="24,000", net=""), kaspi(2, amount="1.500,00", net="")]
    lines, _ = read(save(text([HEADS, *rows])))
    assert [line.money for line in lines] == [tenge("24"), tenge("1500")]
    both = [
        kaspi(1, amount="24,000", net=""),
        kaspi(2, amount="15,50", net=""),
        kaspi(3, amount="15.50", net=""),
    ]
    lines, summary = read(save(text([HEADS, *both])))
    assert (len(lines), summary.skipped_count) == (2, 1)


@pytest.mark.parametrize("written", ["-24000", "\u221224000", "24000-", "(24 000,00)"])
def test_minus_signs(save: Save, written: str) -> None:
    lines, _ = read(save(text([HEADS, kaspi(1, type="Возврат", amount=written, net="")])))
    assert (lines[0].kind, lines[0].money) == (LineKind.REFUND, tenge("24000"))
    _, summary = read(save(text([HEADS, kaspi(1, amount=written)])))
    assert "is negative" in summary.skipped[0].reason


@pytest.mark.parametrize(
    ("day", "clock", "utc"),
    [
        ("01.10.2026", "12:01", "2026-10-01T07:01:00"),
        ("1.10.2026", "2:01:05", "2026-09-30T21:01:05"),
        ("01.10.26", "12:01", "2026-10-01T07:01:00"),
        ("2026-10-01", "12:01:00", "2026-10-01T07:01:00"),
        ("01.10.2026 12:01:07", "", "2026-10-01T07:01:07"),
        ("2026-10-01T12:01:07.1234567", "", "2026-10-01T07:01:07.123456"),
        ("2026-10-01T12:01:07+06", "", "2026-10-01T06:01:07"),
        ("2026-10-01T07:01:07Z", "", "2026-10-01T07:01:07"),
        ("01.10.2026 12:01:07 +05:00", "", "2026-10-01T07:01:07"),
        ("29.02.2024", "22:59:59", "2024-02-29T16:59:59"),
        ("01.03.2024", "00:30", "2024-02-29T19:30:00"),
        ("2021-11-3", "11:55", "2021-11-03T05:55:00"),
    ],
)
def test_dates_follow_the_history_of_the_zone(save: Save, day: str, clock: str, utc: str) -> None:
    # twice, for the quick way and the slow one
    lines, summary = read(save(text([HEADS, kaspi(1, day=day, time=clock), kaspi(2, day=day, time=clock)])))
    assert [each.at for each in lines] == [datetime.fromisoformat(utc + "+00:00")] * 2, summary.skipped


def test_day_of_one_digit_does_not_change_the_time(save: Save) -> None:
    headers = ["Дата", "Сумма", "Номер операции"]
    days = ["1.1.2026 12:03", "1.10.2026 2:03", "01.10.2026 2:03", "1.1.2026 2:03", "11.1.2026 2:03"]
    rows = [[day, "100", str(number)] for number, day in enumerate(days * 2, 1)]
    lines, _ = read(save(text([headers, *rows])))
    local = [(line.at.hour + 5) % 24 * 100 + line.at.minute for line in lines]
    assert local == [1203, 203, 203, 203, 203] * 2
    rows = [["1.1.2026 12:03", "100", "1"], ["1.1.2026 112:03", "100", "2"]]
    lines, summary = read(save(text([headers, *rows])))
    assert (len(lines), summary.skipped_count) == (1, 1)


@pytest.mark.parametrize(
    "day",
    ["", "31.02.2026", "10/01/2026", "2026", "01.10.1926", "сегодня", "01.10.2026 25:00", "45931", "=A1"],
)
def test_invalid_dates_are_skipped(save: Save, day: str) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, day=day), kaspi(2)])))
    assert [line.number for line in lines] == [3]
    assert summary.skipped[0].column == "Дата операции"


def test_hour_that_occurred_twice_is_noted(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, day="29.02.2024", time="23:30")])))
    assert lines[0].at == datetime(2024, 2, 29, 17, 30, tzinfo=UTC)
    assert "occurred twice" in summary.notes[0]


def test_day_without_a_time_is_noted(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, time="")])))
    assert lines[0].at == datetime(2026, 9, 30, 19, 0, tzinfo=UTC)
    assert "no time" in summary.notes[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("QR12800000001", "12800000001"), ("№ 128 000", "128000"), ('="0128"', "128"), ("'128", "128"),
     ("12800000001.0", "12800000001"), ("128\u00a0000", "128000"), ("", "")],
)  # fmt: skip
def test_operation_numbers(save: Save, written: str, meant: str) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, ref=written)])))
    assert [line.ref for line in lines] == [meant], summary.skipped


@pytest.mark.parametrize("written", ["1,28006E+10", "1.28E10", "12;DROP", "<b>", "x" * 65, "=1+1", "１２"])
def test_invalid_operation_numbers_are_skipped(save: Save, written: str) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1, ref=written), kaspi(2)])))
    assert [line.number for line in lines] == [3]
    assert summary.skipped[0].column == "Номер заказа (ID/RRN)"


def test_repeated_line_counts_once(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1), kaspi(2), kaspi(1, ref="QR12800000001"), kaspi(1)])))
    assert [line.number for line in lines] == [2, 3]
    assert [(each.line, each.first_line, each.ref) for each in summary.repeated] == [
        (4, 2, "12800000001"),
        (5, 2, "12800000001"),
    ]
    assert summary.counts == {LineKind.PAYMENT: 2}
    assert not summary.needs_person


def test_same_number_with_other_content_needs_review(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1), kaspi(1, amount="5 000,00")])))
    assert len(lines) == 1
    assert "line 2" in summary.skipped[0].reason


def test_refunds_with_the_number_of_their_purchase(save: Save) -> None:
    back = {"type": "Возврат", "fee": "", "net": ""}
    rows = [
        kaspi(1),
        kaspi(1, amount="-5000", document="77", **back),
        kaspi(1, amount="-6000", document="78", **back),
        kaspi(1, amount="-6000", document="78", **back),
        kaspi(2, amount="-1", document="12800000003", **back),
    ]
    lines, summary = read(save(text([HEADS, *rows])))
    assert [(line.number, line.ref, line.payment_ref) for line in lines] == [
        (2, "12800000001", None),
        (3, "12800000001", "77"),
        (4, "12800000001", "78"),
        (6, "12800000002", "12800000003"),
    ]
    assert (summary.repeated_count, summary.skipped_count) == (1, 0)


def test_types_are_mapped_to_line_kinds(save: Save) -> None:
    rows = [
        kaspi(1, type="покупка в рассрочку"), kaspi(2, type="Комиссия", amount="-10"),
        kaspi(3, type="Возврат комиссии"), kaspi(4, type="Отмена возврата"), kaspi(5, type=""),
    ]  # fmt: skip
    lines, summary = read(save(text([HEADS, *rows])))
    assert [line.kind for line in lines] == [LineKind.PAYMENT, LineKind.OTHER, LineKind.OTHER]
    assert [each.reason for each in summary.skipped] == [
        "the type “Отмена возврата” is not known",
        "there is no type",
    ]


def test_status_and_currency_columns(save: Save) -> None:
    headers = [*HEADS, "Статус", "Валюта"]
    rows = [
        [*kaspi(1), "Успешно", "KZT"], [*kaspi(2), "Отклонено", "KZT"], [*kaspi(3), "Как-то", "KZT"],
        [*kaspi(4), "Проведена", "тенге"], [*kaspi(5), "Успешно", "usd"], [*kaspi(6), "Успешно", "GBP"],
        [*kaspi(7), "Успешно", "?"], [*kaspi(8), "Успешно", ""],
    ]  # fmt: skip
    lines, summary = read(save(text([headers, *rows])))
    assert [(line.number, line.kind.value, str(line.money.currency)) for line in lines] == [
        (2, "payment", "KZT"), (3, "other", "KZT"), (5, "payment", "KZT"), (6, "payment", "USD"),
        (7, "payment", "GBP"),
    ]  # fmt: skip
    assert [(each.line, each.column) for each in summary.skipped] == [
        (4, "Статус"), (8, "Валюта"), (9, "Валюта"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "method", "channel", "is_paid"),
    [
        ("Покупка", "Kaspi Gold", "Kaspi QR", True),
        ("Покупка", "Безналичные", "Удаленная оплата", True),
        ("Сатып алу", "Қолма-қолсыз төлем", "Kaspi QR", True),
        ("Покупка", "Карта другого банка", "Kaspi POS", True),
        ("Покупка", "Наличные", "Касса", False),
        ("Покупка", "Kaspi Gold", "Наличные", False),
        ("Покупка", "", "POS-наличные", False),
        ("Покупка за наличные", "", "", False),
        ("Сатып алу", "Қолма-қол ақша", "", False),
        ("Покупка", "Карта", "POS другого банка", False),
        ("Возврат", "НАЛИЧНЫМИ", "", False),
    ],
)
def test_sales_that_kaspi_only_records(
    save: Save, kind: str, method: str, channel: str, *, is_paid: bool
) -> None:
    headers = [*HEADS, "Канал оплаты"]
    headers[8] = "Способ оплаты"
    row = [*kaspi(1, type=kind), channel]
    row[8] = method
    [line], summary = read(save(text([headers, row])))
    assert (line.kind is not LineKind.OTHER) == is_paid
    assert not summary.needs_person


def test_lines_of_another_width(save: Save) -> None:
    rows = [[*kaspi(1), "", ""], [*kaspi(2), "x"], kaspi(3)[:9], kaspi(4)]
    lines, summary = read(save(text([HEADS, *rows])))
    assert [line.number for line in lines] == [2, 5]
    assert [each.line for each in summary.skipped] == [3, 4]


def test_repeated_headers_are_noted_and_other_headers_refused(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1), HEADS, kaspi(2)])))
    assert len(lines) == 2
    assert summary.notes == ["line 3 repeats the headers"]
    turned = [HEADS, kaspi(1), HEADS[::-1], kaspi(2)[::-1]]
    assert refused(save(text(turned))).line == 3


def test_stray_quotation_mark_affects_its_line_only(save: Save) -> None:
    good = text([kaspi(2)])
    broken = text([kaspi(1)]).replace("пр. Абая 44", '"пр." Абая 44')
    lines, summary = read(save(text([HEADS]) + broken + good))
    assert [line.number for line in lines] == [3]
    assert summary.skipped[0].line == 2


@pytest.mark.parametrize("cut", [1, 5, 8, 20, 60])
def test_cut_file_is_refused_before_the_first_line(save: Save, cut: int) -> None:
    whole = text([HEADS, kaspi(1), kaspi(2)], end="\n").rstrip("\n")
    error = None
    try:
        lines, summary = read(save(whole[:-cut]))
    except InvalidFile as caught:
        error = caught
    if cut <= 8:  # inside of the last cell: nothing but the missing line end can tell
        assert error is None
        assert "line end" in summary.notes[0]
        assert [line.number for line in lines] == [2]
        assert [each.line for each in summary.skipped] == [3]
    else:
        assert error is not None
        assert (error.line, "middle of this line" in error.message) == (3, True)


def test_whole_file_without_last_line_end_is_read(save: Save) -> None:
    lines, summary = read(save(text([HEADS, kaspi(1), kaspi(2)]).rstrip()))
    assert (len(lines), summary.needs_person) == (2, False)


def test_file_cut_in_a_quoted_field_is_refused(save: Save) -> None:
    header, row = text([HEADS]), text([kaspi(1)])
    error = refused(save(header + row + '2;"12800'))
    assert error.line == 3
    assert "never ends" in error.message


def test_empty_files(save: Save) -> None:
    assert "0 bytes" in refused(save(b"")).message
    assert "nothing in it" in refused(save(b"\r\n\r\n")).message
    lines, summary = read(save(text([HEADS])))
    assert (lines, summary.lines, summary.needs_person) == ([], 0, False)


@pytest.mark.parametrize("near_end", [True, False])
def test_endless_line_is_refused_without_reading_it(tmp_path: Path, near_end: bool) -> None:
    path = tmp_path / "bomb.csv"
    with path.open("wb") as file:
        file.write(text([HEADS, kaspi(1)]).encode() if near_end else b"x")
        file.truncate(2_000_000_000 if not near_end else 100_000)  # a hole: no disk is used
    began = time.monotonic()
    refused(path)
    assert time.monotonic() - began < 60
    path.write_bytes(text([HEADS]).encode() + b"a" * 70_000 + b"\n")
    assert refused(path).line == 2
    path.write_bytes(b"a" * 3_000_000)
    assert "longer than 64 kB" in refused(path).message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old .xls"),
        (b"\xd0\xcf\x11\xe0" + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\n <html><table>", "web page"),
        (b"1CClientBankExchange\r\n", "1C"),
        (b'{"a": 1}', "JSON"),
        (b"\x1f\x8b\x08\x00", "archive"),
        (b"a;b\x00c\n", "NUL"),
        ("Номер;Дата\n".encode("utf-16-le"), "NUL"),
        (b"\xff\xfea\x00b", "UTF-16"),
        (b"just words\n", "not a known statement"),
    ],
)
def test_other_file_formats_are_named(save: Save, content: bytes, word: str) -> None:
    assert word in refused(save(content)).message


def test_unproven_encoding_is_refused(save: Save) -> None:
    good = text([HEADS, kaspi(1)])
    assert "damaged" in refused(save(good.encode() + "пр. Абая\n".encode("cp1251"))).message
    # Cyrillic in a file whose headers prove nothing
    path = save(text([STRIPE, stripe(1, description="Взнос за турнир")], ","), "cp1251")
    assert "encoding" in str(refused(path).next_step)
    assert "neither UTF-8" in refused(save(good, "cp866")).message
    assert "not a known statement" in refused(save(good.replace("№", "N"), "koi8-r")).message
    assert "letters are lost" in refused(save(good.encode().decode("cp1251", "ignore"))).message


def test_two_columns_of_one_role_are_refused(save: Save) -> None:
    headers = [*HEADS, "Сумма операции (₸)"]
    error = refused(save(text([headers, [*kaspi(1), "5"]])))
    assert "“Сумма операции (т)”, “Сумма операции (₸)”" in error.message


def test_unknown_layout_lists_its_headers(save: Save) -> None:
    error = refused(save("Когда;Сколько;Что\n01.10.2026;5;x\n"))
    assert "“Когда”, “Сколько”, “Что”" in error.message
    assert "--mapping" in str(error.next_step)
    error = refused(save(text([HEADS, kaspi(1)])), provider="stripe")
    assert "not a known statement of Stripe, but one of Kaspi" in error.message
    error = refused(save(text([STRIPE, stripe(1)], ",")), provider="kaspi")
    assert "not a known statement of Kaspi, but one of Stripe" in error.message


def test_pipe_and_directory_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert "is not a regular file" in refused(path).message


def test_file_changed_while_reading_is_detected(save: Save) -> None:
    path = save(text([HEADS, kaspi(1), kaspi(2)]))
    with open_statement(path) as statement:
        lines = iter(statement)
        next(lines)
        path.write_bytes(path.read_bytes() + text([kaspi(3)]).encode())
        with pytest.raises(InvalidFile, match="changed while it was read"):
            list(lines)


def test_number_of_stored_bad_lines_is_limited(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_summary, "MOST_KEPT", 5)
    _, summary = read(save(text([HEADS, *[kaspi(1, amount="x") for _ in range(50)]])))
    assert (len(summary.skipped), summary.skipped_count) == (5, 50)


def test_memory_stays_flat_and_progress_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    progress: list[tuple[int, int]] = []
    with path.open("w", encoding="utf-8") as file:
        file.write(text([HEADS]))
        for number in range(30_000):
            clock = f"{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
            row = kaspi(1, ref=str(number), time=clock, amount=f"{number}", net="", row=str(number + 1))
            file.write(";".join(row) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_statement(path, progress=lambda done, whole: progress.append((done, whole))) as statement:
        assert sum(1 for _ in statement) == 30_000
        assert statement.rows == 30_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB
    assert progress == sorted(progress)
    assert progress[-1][0] > progress[-1][1] * 0.9
