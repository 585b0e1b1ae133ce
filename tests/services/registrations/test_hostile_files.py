"""Lists of participants that were damaged or made up: read or refused, nothing else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.errors import Refused
from procomp_pay.services.registrations.file import read_roster
from tests.services.registrations.test_file import workbook
from tests.support.hostile import damaged, many, some, with_cells
from tests.support.statement_files import text

_ROWS = [
    ["Фамилия", "Имя", "category", "email", "Год рождения"],
    ["Әбенова", "Айгерім", "U12", "a@example.kz", "2014"],
    ["Smith", "John, Jr.", "Open", "", ""],
    ["Итого", "2", "", "", ""],
]


def _read(path: Path) -> None:
    try:
        roster = read_roster(path)
    except Refused:
        return
    for row in roster.rows:
        assert row.line > 0
        assert row.problem is None or row.name == ""


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "utf-16"])
@many
@given(data=st.data())
def test_a_damaged_list_gives_lines_or_is_refused(tmp_path: Path, encoding: str, data: st.DataObject) -> None:
    path = tmp_path / "list.csv"
    whole = text(_ROWS, data.draw(st.sampled_from(";,\t"))).replace("Ә", "А").replace("і", "и")
    path.write_bytes(data.draw(damaged(whole.encode(encoding), encoding)))
    _read(path)


@many
@given(rows=with_cells(_ROWS))
def test_a_list_of_any_cells_gives_lines_or_is_refused(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text(rows).encode("utf-8", "replace"))
    _read(path)


@some
@given(data=st.data())
def test_a_damaged_workbook_gives_lines_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = tmp_path / "list.xlsx", workbook(*_ROWS)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(["", *sorted(parts)]))
    if not name:
        path.write_bytes(data.draw(damaged(whole)))
    else:  # the archive itself is sound
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in parts.items():
                archive.writestr(each, data.draw(damaged(content)) if each == name else content)
    _read(path)
