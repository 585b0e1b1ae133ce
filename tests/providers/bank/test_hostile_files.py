"""Bank files that were damaged or made up: read to the tiyn or refused, nothing else."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.providers.bank.reader import read_bank_file
from procomp_pay.providers.bank.values import day_of, money
from tests.providers.bank.test_reader import COLUMNS, KAZAKH, MT940, OURS, RUSSIAN, TABLE
from tests.support.hostile import damaged, many, texts

_FILES = {"1C of Kazakhstan": KAZAKH, "1C of Russia": RUSSIAN, "MT940": MT940, "CSV": TABLE}


@pytest.mark.parametrize("kind", _FILES)
@many
@given(data=st.data(), encoding=st.sampled_from(["cp1251", "utf-8"]))
def test_a_damaged_file_gives_lines_or_is_refused(
    tmp_path: Path, kind: str, data: st.DataObject, encoding: str
) -> None:
    path = tmp_path / "bank.txt"
    path.write_bytes(data.draw(damaged(_FILES[kind].encode(encoding), encoding)))
    account = data.draw(st.sampled_from([OURS, None]))
    columns = COLUMNS if kind == "CSV" else None
    try:
        found = read_bank_file(path, account=account, columns=columns)
    except InvalidFile:
        return
    for line in found.lines:
        assert line.account == found.account
        assert isinstance(line.booked_on, date)
        assert line.amount == line.amount.quantize(Decimal("0.01"))
        assert "\0" not in f"{line.currency}{line.number}{line.party}{line.purpose}", "no database stores it"


@many
@given(texts)
def test_any_text_is_an_amount_and_a_day_or_refused(text: str) -> None:
    with suppress(InvalidFile):
        assert money(text).is_finite()
    with suppress(InvalidFile):
        assert day_of(text).year > 0
