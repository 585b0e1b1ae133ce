"""``report`` and ``report closing``: the same figures in all formats, and no executable content."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from rich.console import Console

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.reports import files as reporting_files
from procomp_pay.cli.reports import html_page
from procomp_pay.cli.reports import spreadsheet as reporting_spreadsheet
from procomp_pay.cli.reports import terminal as terminal_tables
from procomp_pay.cli.reports.cells import Cell, Id, Section, columns
from procomp_pay.domain.errors import Refused
from tests.support.patience import PATIENCE_S
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.report_books import Books, random_books
from tests.support.terminal import CommandLine

_EVIL = ['=HYPERLINK("http://evil.example","x")', "<script>alert(1)</script>", "@SUM(A1)", "Kid \x1b[31mred",
         "+7 701", "-2+3", "Құдайбергенұлы & Ко", "'; DROP", "\uff1d1+1"]  # fmt: skip


@pytest.fixture
def finance(sqlite_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A clerk with a few days of payments and hostile names."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    books = random_books(7, 70)
    books.name_participants(_EVIL, category="=cat")
    return books.clerk(bare_environment, sqlite_url)


class Tables(HTMLParser):
    """Parses a page: the cells of its tables by heading, and all its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = defaultdict(list)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._heading, self._text, self._in = "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.tables[self._heading].append([])
        if tag in ("td", "th", "h2"):
            self._in, self._text = tag, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2":
            self._heading = self._text
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append(self._text.replace("\N{NO-BREAK SPACE}", ""))


def _page(path: Path) -> Tables:
    return Tables(path.read_text("utf-8"))


def _money(value: Decimal | None) -> str:
    return "not known yet" if value is None else f"{value:.2f}"


def test_all_report_formats_have_the_same_figures(finance: CommandLine, tmp_path: Path) -> None:
    names = ("r.html", "r.xlsx", "r.csv")
    output = finance.type("report", "--json", "--html", "r.html", "--xlsx", "r.xlsx", "--csv", "r.csv")
    document = output.json
    page, book = _page(tmp_path / names[0]), openpyxl.load_workbook(tmp_path / names[1])
    text = (tmp_path / names[2]).read_bytes().decode("utf-8-sig")
    figures = {tuple(row[:5]): row[5] for row in csv.reader(io.StringIO(text))}
    terminal = finance.type("report").out.replace("\N{NO-BREAK SPACE}", "")
    rows = {row[0].strip(): row[1:] for row in page.tables["Money"]}
    sheet = {str(row[0].value).strip(): row[1:] for row in book["Money"].iter_rows()}
    assert document["money"]
    for place, flow in enumerate(document["money"]):
        for name, value in (
            ("revenue", flow["revenue"]), ("refunds", -flow["refunded"]),
            ("before fees", flow["net_before_fees"]),
            ("disputes lost", -flow["disputes"]["lost"]["amount"]), ("net", flow["net"]),
            ("disputes open", flow["disputes"]["open"]["amount"]),
        ):  # fmt: skip
            assert rows[name][place] == _money(value)
            line = next(shown for shown in terminal.splitlines() if shown.startswith(f"{name} "))
            assert _money(value) in line
            cell = sheet[name][place]
            if value is not None:
                assert (Decimal(str(cell.value)), cell.data_type) == (value, "n")
                assert cell.number_format == "#,##0.00"
        for name in ("revenue", "refunded", "net_before_fees", "payments"):
            assert Decimal(figures["money", "", "", flow["currency"], name]) == flow[name]
        assert figures["money", "", "", flow["currency"], "net"] == (
            "" if flow["net"] is None else str(flow["net"])
        )
    _days_agree(document, page, book, figures)


def _days_agree(document: Any, page: Tables, book: Any, figures: dict[Any, str]) -> None:
    on_page = {(row[0], row[1]): row for row in page.tables["Money by day"]}
    in_book = {(row[0].value, row[1].value): row for row in book["Money by day"].iter_rows(min_row=2)}
    assert book["Money by day"].freeze_panes == "A2"
    assert book["Money by day"].auto_filter.ref.startswith("A1:")
    for sheet in book.worksheets:  # on paper: across, and as wide as the page
        assert (sheet.page_setup.paperSize, sheet.sheet_properties.pageSetUpPr.fitToPage) == (9, True)
    for day in document["days"]:
        key, currency = day["day"], day["currency"]
        assert on_page[key, currency][3] == _money(day["revenue"])
        cells = in_book[datetime.fromisoformat(key), currency]
        assert cells[0].is_date
        assert Decimal(str(cells[3].value)) == day["revenue"]
        assert Decimal(figures["days", key, "", currency, "revenue"]) == day["revenue"]
    # the totals match the report
    for flow in document["money"]:
        assert Decimal(str(in_book["all", flow["currency"]][3].value)) == flow["revenue"]


def test_all_closing_sheet_formats_have_the_same_figures(finance: CommandLine, tmp_path: Path) -> None:
    sheet = finance.ask("report", "closing", "--tournament", "t1")
    finance.type("report", "closing", "--tournament", "t1", "--html", "c.html", "--xlsx", "c.xlsx",
                 "--as-of", sheet["as_of"])  # fmt: skip
    page, book = _page(tmp_path / "c.html"), openpyxl.load_workbook(tmp_path / "c.xlsx")
    on_page, in_book = page.tables["Payments"][1:], list(book["Payments"].iter_rows(min_row=2))
    assert len(on_page) == len(in_book) == len(sheet["payments"]) + len(sheet["totals"])
    for payment, row, cells in zip(sheet["payments"], on_page, in_book, strict=False):
        assert (row[5], row[6]) == (_money(payment["amount"]), payment["currency"])
        assert row[12] == payment["payment_id"]
        assert Decimal(str(cells[5].value)) == payment["amount"]
        assert cells[0].is_date
        assert payment["started_at"][:4] == str(cells[0].value.year)
    totals = zip(sheet["totals"], page.tables["Totals"][1:], book["Totals"].iter_rows(min_row=2), strict=True)
    for total, row, cells in totals:
        wanted = [total[name] for name in ("payments", "paid", "open")]
        assert row[1:4] == [str(item) for item in wanted]
        assert (row[4], row[8]) == (_money(total["taken"]), _money(total["kept_before_fees"]))
        assert Decimal(str(cells[8].value)) == total["kept_before_fees"]
        mine = [item for item in sheet["payments"] if item["currency"] == total["currency"]]
        paid = [item["amount"] for item in mine if item["status"] in ("COMPLETED", "REFUNDED")]
        assert (len(mine), sum(paid)) == (total["payments"], total["taken"])


def test_files_contain_no_formula_or_script(finance: CommandLine, tmp_path: Path) -> None:
    finance.type("report", "closing", "--tournament", "t1", "--html", "c.html", "--xlsx", "c.xlsx")
    finance.type("report", "--html", "r.html", "--xlsx", "r.xlsx", "--csv", "r.csv")
    for name in ("c.html", "r.html"):
        page = _page(tmp_path / name)
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"script", "img", "link", "iframe", "object", "a", "form"})
        keys = {key for _, attrs in page.tags for key in attrs}
        assert not any(key in ("src", "href") or key.startswith("on") for key in keys)
        source = (tmp_path / name).read_text("utf-8")
        assert "http://evil" not in re.sub(r"<t[dh][^>]*>[^<]*</t[dh]>", "", source)
        assert "\x1b" not in source
        assert "url(http" not in source
    for name in ("c.xlsx", "r.xlsx"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert not any(b"<f>" in archive.read(member) for member in archive.namelist())
        for sheet in openpyxl.load_workbook(tmp_path / name):
            for row in sheet.iter_rows():
                assert all(cell.data_type != "f" and not str(cell.value).startswith("=") for cell in row)
    for row in csv.reader((tmp_path / "r.csv").read_text("utf-8-sig").splitlines()):
        for cell in row:
            assert not cell.startswith(("=", "@", "+", "\t"))
            assert not cell.startswith("-") or Decimal(cell) < 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "report.csv"
    before = os.umask(umask)
    try:
        for force in (False, True):
            reporting_files.write(str(path), lambda stream: stream.writelines([b"a"]), force=force)
            assert path.stat().st_mode & 0o777 == 0o600
            path.chmod(0o644)  # an older report is replaced with its permissions
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "evil", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\n=1", "\r@x", "\uff1d1", "\u200b=1"]
)
def test_text_that_looks_like_a_formula_is_quoted(evil: str) -> None:
    made = reporting_spreadsheet.not_a_formula(evil)
    assert made.startswith("'") or not made.lstrip().startswith(tuple("=+-@"))
    assert reporting_spreadsheet.not_a_formula("Қайрат = жеңімпаз") == "Қайрат = жеңімпаз"


@pytest.mark.parametrize("evil", ["Асан;=1+1", "Асан; @x", 'Асан;"=1+1";"', "Асан;\uff1d1;+2", ";-1"])
def test_text_is_no_formula_where_a_semicolon_ends_a_cell(evil: str) -> None:
    stream = io.BytesIO()
    reporting_spreadsheet.write_csv(stream, [("2026-05-01", evil, "24000.00")], for_excel=True)
    line = stream.getvalue().decode("utf-8-sig")
    for cell in [*line.split(";"), *next(csv.reader([line], delimiter=";"))]:
        assert not cell.lstrip('" ').startswith(tuple("=+-@\uff1d")), cell
    assert reporting_spreadsheet.not_a_formula("Асан; Үсен-2;") == "Асан; Үсен-2;"


def test_the_same_sheet_has_the_same_bytes(finance: CommandLine, tmp_path: Path) -> None:
    words = ("report", "closing", "--tournament", "t1", "--as-of", "2024-03-02")
    for number in range(2):
        finance.type(*words, "--html", f"{number}.html", "--xlsx", f"{number}.xlsx")
    for kind in ("html", "xlsx"):
        assert (tmp_path / f"0.{kind}").read_bytes() == (tmp_path / f"1.{kind}").read_bytes()
    first, second = (finance.ask("report", "closing", "--tournament", "t1") for _ in range(2))
    assert first | {"as_of": ""} == second | {"as_of": ""}
    with zipfile.ZipFile(tmp_path / "0.xlsx") as archive:
        # the sheet's time, the midnight that ends 2 March, not the current time
        assert {member.date_time for member in archive.infolist()} == {(2024, 3, 2, 19, 0, 0)}
        assert archive.read("docProps/core.xml").count(b"2024-03-02T19:00:00Z") == 2
    openpyxl.load_workbook(tmp_path / "0.xlsx")  # it can be opened


def test_existing_files_are_not_overwritten(finance: CommandLine, tmp_path: Path) -> None:
    old = tmp_path / "r.csv"
    old.write_text("precious")
    output = finance.type("report", "--csv", "r.csv", "--html", "r.html", code=3)
    assert "exists already" in output.err
    assert old.read_text() == "precious"
    assert not (tmp_path / "r.html").exists()
    finance.type("report", "--csv", "r.csv", "--force")
    assert "precious" not in old.read_text("utf-8-sig")
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_files_are_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    target.write_text("old")

    def fill(stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Refused, match="No space left"):
        reporting_files.write(str(target), fill, force=True)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(Refused, match="exists already"):
        reporting_files.write(str(target), lambda stream: None, force=False)
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("--csv", "-", "--html", "-"), "Only one output"),
        (("--csv", "-", "--json"), "Only one output"),
        (("--csv", "x", "--html", "x"), "same file"),
        (("--csv", "nowhere/x"), "no directory"),
        (("--html", "."), "is a directory"),
        (("--since", "2024-03-02", "--until", "2024-03-01"), "is before"),
        (("--since", "someday"), "is not a day"),
        (("--timezone", "Mars/Base"), "is not a time zone"),
        (("--timezone", "../../etc/passwd"), "is not a time zone"),
        (("--until", "9999-12-31"), "not a day that"),
    ],
)
def test_wrong_periods_and_tournaments_are_refused(
    finance: CommandLine, words: tuple[str, ...], output: str
) -> None:
    answer = finance.type("report", *words, code=3)
    assert output in answer.err + answer.out


def test_options_before_the_subcommand_are_refused(finance: CommandLine) -> None:
    assert "put the options after" in finance.type("report", "--tournament", "t1", "closing", code=2).err
    finance.type("report", "closing", code=2)
    finance.type("report", "--tournament", "t9", code=4)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    for as_of, why in (
        (tomorrow, "is in the future"),
        ("never", "is not a day"),
        ("never-ever-so", "is not a time"),
    ):
        output = finance.type("report", "closing", "--tournament", "t1", "--as-of", as_of, code=3)
        assert why in output.err


def test_a_file_on_stdout_is_alone_there(finance: CommandLine) -> None:
    rows = list(csv.reader(finance.type("report", "--csv", "-").out.splitlines()))
    assert rows[0] == ["section", "item", "name", "currency", "figure", "value"]
    assert finance.type("report", "--html", "-").out.startswith("<!DOCTYPE html>")
    out = finance.type("report", "--json").out
    assert json.loads(out)["report"] == "period"
    assert re.search(r'"revenue": \d+\.\d\d,', out)


def test_days_in_another_time_zone(finance: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    almaty = finance.ask("report")
    assert almaty["timezone"] == "Asia/Almaty"
    elsewhere = finance.ask("report", "--timezone", "America/New_York")
    assert elsewhere["money"] == almaty["money"]
    assert elsewhere["days"] != almaty["days"]
    monkeypatch.setenv("REPORT_TIMEZONE", "America/New_York")
    assert finance.ask("report")["days"] == elsewhere["days"]


def test_a_pipe_gets_whole_lines_without_bars(finance: CommandLine) -> None:
    output = finance.type("report")
    assert "█" not in output.out
    assert "\x1b" not in output.out
    assert "Money by day" in output.out
    closing = finance.type("report", "closing", "--tournament", "t1")
    assert "\x1b" not in closing.out
    assert "Audit seal: not sealed" in closing.err


def test_an_empty_report(
    sqlite_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    clerk = Books().clerk(bare_environment, sqlite_url)
    assert "There were no payments" in clerk.type("report").err
    clerk.type("report", "--html", "r.html", "--xlsx", "r.xlsx", "--csv", "r.csv")
    clerk.type("report", "closing", "--tournament", "t1", "--html", "c.html", "--xlsx", "c.xlsx")
    assert "Nothing is open" in (tmp_path / "c.html").read_text("utf-8")
    book = openpyxl.load_workbook(tmp_path / "c.xlsx")  # a sheet without rows would print an empty page
    assert not {"Payments", "Totals"} & set(book.sheetnames)
    assert "Payments" in str(list(book["About"].values)[-1][1])
    document = clerk.ask("report", "--tournament", "t1")
    assert (document["money"], document["attempts"]["success_percent"]) == ([], None)


def test_a_long_period_is_shown_by_months(finance: CommandLine) -> None:
    books = random_books(9, 5)
    for p in books.payments:
        p.id = f"old-{p.id}"
    books = Books(payments=books.payments[:1], details={})
    payment = books.payments[0]
    finance.write(payment, _old_detail(payment))
    assert "Money by month" in finance.type("report").out
    assert any(day["day"] == "2023-05-01" for day in finance.ask("report")["days"])


def _old_detail(payment: Any) -> Any:
    detail = next(iter(random_books(9, 1).details.values()))
    detail.payment_id, detail.completed_at = payment.id, datetime(2023, 5, 1, 9, tzinfo=UTC)
    detail.created_at = datetime(2023, 5, 1, 8, tzinfo=UTC)
    return detail


def closing_page(payments: int) -> html_page.Page:
    row: list[Cell] = ["2026-05-02 10:00", "Kid", "Kaspi QR", Decimal("24000.00"), "KZT", Id("27960014876")]
    sections = [
        Section("Steps", columns("Step|State"), [["pending", "finished"]] * 12),
        Section("Payments", columns("Started|Participant|Method|Amount|Currency|Payment"), [row] * payments),
    ]
    return html_page.Page("Closing", "2026-05-02", [], sections, "Closing", sheet=True)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_signatures_are_never_alone_on_a_page(tmp_path: Path) -> None:
    pages = []
    for payments in (3, *range(20, 27), 31, 60):
        with (tmp_path / "page.html").open("wb") as stream:
            html_page.write(stream, closing_page(payments))
        words = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile")
        out = f"--print-to-pdf={tmp_path}/page.pdf"
        subprocess.run(
            ["chromium", *words, out, (tmp_path / "page.html").as_uri()],
            check=True, capture_output=True, timeout=PATIENCE_S,
        )  # fmt: skip
        pages.append((tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n"))
    assert pages == sorted(pages)
    assert (pages[0], pages[-1]) == (1, 2)


def test_a_chart_has_one_scale_for_revenue_and_refunds() -> None:
    bars = [
        html_page.Bar("1", Decimal("48000.00"), Decimal("24000.00")),
        html_page.Bar("2", Decimal(0), Decimal(0)),
    ]
    page = html_page.Page(
        "Report", "May", [], [Section("Money by day", columns("Day|Sum"), [["1", "2"]])], "f",
        charts={"Money by day": {"KZT": bars}},
    )  # fmt: skip
    stream = io.BytesIO()
    html_page.write(stream, page)
    text = stream.getvalue().decode()
    ticks = re.findall(r'class="tick" x="60" y="([\d.]+)".*?>(.*?)</text>', text)
    places = {int(words.replace("\N{NO-BREAK SPACE}", "")): Decimal(y) for y, words in ticks}
    assert list(places) == [-20000, 0, 20000, 40000]
    height = places[0] - places[20000]
    assert abs(places[-20000] - places[0] - height) < Decimal("0.2")
    assert abs(places[20000] - places[40000] - height) < Decimal("0.2")
    [(top, tall)] = re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)" fill="#2a5d8f"', text)[:1]
    assert abs(Decimal(tall) - height * Decimal("2.4")) < 1
    assert Decimal(top) + Decimal(tall) == 110


def test_format_durations() -> None:
    assert [formats.duration(item) for item in (0, 41, 125, 3723, 90_061)] == [
        "0:00", "0:41", "2:05", "1:02:03", "25:01:01",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 50, 30, 12])
@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_width_cuts_a_figure_or_a_word(
    width: int, bars: bool, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.cli.framework.console.has_colour", lambda: bars)
    rows = [["Kaspi QR", 5, Decimal("100.00"), "96\u00a0000.00", "3:01", Id("c" * 25)]]
    section = Section("Attempts", columns("Method|Participants|=Success|-Money back|p95|Payment"), rows)
    screen = Console(
        width=width, file=io.StringIO(), highlight=False, emoji=False, force_terminal=is_terminal,
        color_system=None,
    )  # fmt: skip
    with screen.capture() as drawn:
        terminal_tables._draw(screen, "Report", "all", [section], None)
    words = re.sub(r"\x1b\[[0-9;]*m", "", drawn.get()).replace("Money back", "").split()
    assert {"Participants", "100.00", "3:01", "c" * 25, "Kaspi", "QR"} <= set(words)


def test_no_word_is_broken_in_a_narrow_terminal(
    finance: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is too wide is shown as its rows, a line for each cell; sums have no heads."""
    monkeypatch.setenv("NO_PAGER", "1")
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    for words in (("report", "closing", "--tournament", "t1"), ("participant", "list"), ("list",)):
        with pseudo_terminal(finance, *words, columns=50, lines=24) as terminal:
            assert terminal.ends() == 0
            lines = [line.rstrip("\r") for line in re.sub(r"\x1b\[[0-9;]*m", "", terminal.output).split("\n")]
        too_long = [line for line in lines if console.width_of(line) > 50]
        assert [line for line in too_long if max(map(len, line.split())) < 30] == []
        assert len(lines) > 20
        assert words[0] != "report" or any(re.match(r"оплачено: \d+  принято  ", line) for line in lines)


def test_long_report_opens_the_pager(finance: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    for words in (("report",), ("report", "closing", "--tournament", "t1")):
        with pseudo_terminal(finance, *words, lines=20) as terminal:
            terminal.wait_for("paged:")
            assert terminal.ends() == 0
        assert "paged:" not in finance.type(*words).out


def test_sheet_in_the_readers_language(finance: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("report", "closing", "--tournament", "t1", "--html", "-")
    for language, title in (("ru", "Итоговый лист"), ("kk", "Қорытынды парақ")):
        monkeypatch.setenv("PROCOMP_LANGUAGE", language)
        page = finance.type(*words).out
        assert f'<html lang="{language}">' in page
        assert f"<h1>{title}: " in page
        assert re.search(r"<td class=\"d\">\d\d\.\d\d\.\d{4} \d\d:\d\d</td>", page)
        assert re.search(r"\d,\d\d</td>", page)
        assert not re.search(r"\d\.\d\d</td>", page)
