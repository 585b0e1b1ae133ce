"""Bank statements: read to the tiyn, or refused whole."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.payouts import BankLine
from procomp_pay.providers.bank.reader import read_bank_file

OURS = "KZ12722S000001234567"
KAZAKH = f"""1CClientBankExchange
ВерсияФормата=1.01
Кодировка=Windows
РасчСчет={OURS}
СекцияРасчСчет
РасчСчет={OURS}
НачальныйОстаток=1000.00
ВсегоПоступило=24750.50
ВсегоСписано=100.00
КонечныйОстаток=25650.50
КонецРасчСчет
СекцияДокумент=выписка
НомерДокумента=77
ДатаДокумента=02.05.2026
ДатаОперации=02.05.2026
ПлательщикНаименование=АО "Kaspi Bank"
ПлательщикИИК=KZ55722S000000000001
ПолучательИИК={OURS}
СуммаПриход=24750.50
НазначениеПлатежа=Зачисление Kaspi Pay за 01.05.2026
КонецДокумента
СекцияДокумент=выписка
НомерДокумента=78
ДатаОперации=02.05.2026
ПолучательНаименование=ТОО "Аренда"
СуммаРасход=100.00
НазначениеПлатежа=Аренда
КонецДокумента
КонецФайла
"""
RUSSIAN = """1CClientBankExchange
ВерсияФормата=1.03
Кодировка=Windows
РасчСчет=40702810000000000001
СекцияРасчСчет
РасчСчет=40702810000000000001
НачальныйОстаток=0.00
КонечныйОстаток=900.00
КонецРасчСчет
СекцияДокумент=Платежное поручение
Номер=5
Дата=30.04.2026
Сумма=1000.00
ПлательщикСчет=40702810000000000009
Плательщик1=STRIPE PAYMENTS EUROPE
ПолучательСчет=40702810000000000001
ДатаПоступило=02.05.2026
НазначениеПлатежа=po_1Abc
КонецДокумента
СекцияДокумент=Платежное поручение
Номер=6
Дата=02.05.2026
Сумма=100.00
ПлательщикСчет=40702810000000000001
ПолучательСчет=40702810000000000008
Получатель1=ИП Иванов
ДатаСписано=03.05.2026
КонецДокумента
КонецФайла
"""
MT940 = f""":20:STMT
:25:CASPKZKA/{OURS}
:28C:1/1
:60F:C260501KZT1000,00
:61:2605020502C24750,50NTRF77//KASPI
:86:Зачисление Kaspi Pay
за 01.05.2026
:61:2605020502D100,00NTRF78//X
:86:Аренда
:62F:C260502KZT25650,50
-
:20:STMT
:25:CASPKZKA/{OURS}
:28C:2/1
:60F:C260502KZT25650,50
:62F:C260503KZT25650,50
-
"""
COLUMNS = {"date": "Дата", "credit": "Кредит", "debit": "Дебет", "purpose": "Назначение"}
TABLE = """Выписка;;;
Дата;Дебет;Кредит;Назначение
02.05.2026;;24 750,50;"Kaspi; за 01.05"
02.05.2026;100,00;;Аренда
"""


def saved(folder: Path, text: str, encoding: str = "cp1251") -> Path:
    path = folder / "bank.txt"
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    return path


def test_the_1c_text_of_kazakhstan(tmp_path: Path) -> None:
    for encoding in ("cp1251", "utf-8", "utf-8-sig", "cp866"):
        read = read_bank_file(saved(tmp_path, KAZAKH, encoding))
        assert read.account == OURS
        assert read.lines == [
            BankLine(
                OURS, date(2026, 5, 2), Decimal("24750.50"), "KZT", "77", 'АО "Kaspi Bank"',
                "Зачисление Kaspi Pay за 01.05.2026",
            ),
            BankLine(OURS, date(2026, 5, 2), Decimal("-100.00"), "KZT", "78", 'ТОО "Аренда"', "Аренда"),
        ]  # fmt: skip


def test_a_file_covers_the_days_that_it_names_and_those_of_its_lines(tmp_path: Path) -> None:
    def days(text: str, columns: dict[str, str] | None = None) -> tuple[date, date] | None:
        return read_bank_file(saved(tmp_path, text), account=OURS, columns=columns).days

    def may(first: int, last: int) -> tuple[date, date]:
        return date(2026, 5, first), date(2026, 5, last)

    assert days(KAZAKH) == may(2, 2)
    period = "ДатаНачала=01.05.2026\nДатаКонца=07.05.2026\n"
    for head in ("Кодировка=Windows\n", f"СекцияРасчСчет\nРасчСчет={OURS}\n"):
        assert days(KAZAKH.replace(head, head + period)) == may(1, 7)
    assert days(MT940) == may(2, 3)  # the first of May had ended
    assert days(TABLE, COLUMNS) == may(2, 2)
    assert days("Дата;Кредит;Дебет;Назначение\n", COLUMNS) is None


def test_the_1c_text_of_russia(tmp_path: Path) -> None:
    read = read_bank_file(saved(tmp_path, RUSSIAN), account="4070 2810 0000 0000 0001")
    assert [(line.booked_on.day, line.amount, line.party) for line in read.lines] == [
        (2, Decimal("1000.00"), "STRIPE PAYMENTS EUROPE"),
        (3, Decimal("-100.00"), "ИП Иванов"),
    ]


@pytest.mark.parametrize("encoding", ["cp1251", "utf-8"])
def test_mt940(tmp_path: Path, encoding: str) -> None:
    read = read_bank_file(saved(tmp_path, MT940, encoding), account=OURS)
    assert [(line.booked_on, line.amount, line.number, line.purpose) for line in read.lines] == [
        (date(2026, 5, 2), Decimal("24750.50"), "77", "Зачисление Kaspi Pay за 01.05.2026"),
        (date(2026, 5, 2), Decimal("-100.00"), "78", "Аренда"),
    ]


def test_a_credit_that_the_bank_took_back_is_money_out(tmp_path: Path) -> None:
    back = MT940.replace(
        ":62F:C260502KZT25650,50\n-", ":61:2605020502RC24750,50NTRF79//KASPI\n:62F:C260502KZT900,00\n-"
    )
    [statement, _] = back.split("-\n", 1)
    read = read_bank_file(saved(tmp_path, statement), account=OURS)
    amounts = [Decimal("24750.50"), Decimal("-100.00"), Decimal("-24750.50")]
    assert [line.amount for line in read.lines] == amounts
    table = TABLE + '02.05.2026;;-24 750,50;"Kaspi; сторно"\n'
    read = read_bank_file(saved(tmp_path, table), account=OURS, columns=COLUMNS)
    assert [line.amount for line in read.lines] == amounts


@pytest.mark.parametrize("encoding", ["cp1251", "utf-8-sig"])
def test_csv_by_its_columns(tmp_path: Path, encoding: str) -> None:
    read = read_bank_file(saved(tmp_path, TABLE, encoding), account=OURS, columns=COLUMNS)
    assert [(line.amount, line.purpose) for line in read.lines] == [
        (Decimal("24750.50"), "Kaspi; за 01.05"), (Decimal("-100.00"), "Аренда"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (KAZAKH.replace("КонецФайла\n", ""), "it was cut"),
        (KAZAKH[: KAZAKH.index("СуммаРасход")], "it was cut"),
        (KAZAKH.replace("КонечныйОстаток=25650.50\n", ""), "no closing balance"),
        (KAZAKH.replace("=24750.50\nНазн", "=24750.49\nНазн"), "does not add up"),
        (KAZAKH[: KAZAKH.rindex("СекцияДокумент")] + "КонецФайла\n", "does not add up"),
        (KAZAKH.replace("КонецДокумента\n", "", 1), "begins before"),
        (KAZAKH.replace("02.05.2026\nПлательщик", "32.05.2026\nПлательщик"), "is not a day"),
        (KAZAKH.replace("Приход=24750.50", "Приход=24750.501"), "is not an amount"),
        ("1CClientBankExchange\n????????=1\n", "damaged"),
        (KAZAKH.replace("Аренда", "Арен\0да"), "NUL"),
        (MT940.replace("Аренда", "Арен\0да"), "NUL"),
        (MT940.replace(":62F:C260502KZT25650,50\n", ""), "no closing balance"),
        (MT940[: MT940.index(":86:Аренда")], "no closing balance"),
        (MT940.replace(":61:2605020502D100,00NTRF78//X\n:86:Аренда\n", ""), "does not add up"),
        (MT940.replace(":60F:C260502KZT25650,50", ":60F:C260502KZT1,00"), "one between them is missing"),
        (MT940.replace(":61:2605020502D", ":61:26X5020502D"), "could be read|cannot be read"),
        ("just text\n", "neither 1C text nor MT940"),
        ("PK\x03\x04 of Excel", "is a workbook"),
        ("%PDF-1.7", "is a PDF"),
    ],
)
def test_half_a_file_or_a_damaged_one_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidFile, match=why):
        read_bank_file(saved(tmp_path, text))


@pytest.mark.parametrize("text", [KAZAKH, MT940])
def test_another_account_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFile, match=f"is of .*{OURS}, not of KZ99"):
        read_bank_file(saved(tmp_path, text), account="KZ99")


@pytest.mark.parametrize(
    ("text", "columns", "why"),
    [
        (TABLE, {"date": "Дата", "amount": "Сумма"}, "No line of the file has all"),
        (TABLE + "03.05.2026;1", COLUMNS, "too few cells"),
        (TABLE + "03.05.2026;x;;", COLUMNS, "line 5.*not an amount"),
        (TABLE + '03.05.2026;;1,00;"cut', COLUMNS, "never ends"),
    ],
)
def test_a_csv_file_that_is_not_understood_is_refused(
    tmp_path: Path, text: str, columns: dict[str, str], why: str
) -> None:
    with pytest.raises(InvalidFile, match=f"(?i){why}"):
        read_bank_file(saved(tmp_path, text), account=OURS, columns=columns)


def test_what_the_library_says_about_a_bad_line_is_for_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidFile):
        read_bank_file(saved(tmp_path, MT940.replace(":61:26", ":61:??")), account=OURS)
    assert not caplog.records
    assert capfd.readouterr().err == ""
