"""What the desk reads from the keys of a scanner, in each layout of the keyboard."""

from __future__ import annotations

import pytest

from procomp_pay.cli.desk import keys
from procomp_pay.cli.desk.keys import Scan, mistyped_code, read_scan

RUSSIAN = str.maketrans(keys._LATIN, keys._CYRILLIC)


@pytest.mark.parametrize(
    "scanned", ["DDTR-NSYQ", "DDTRNSYQ", "https://pay.example.kz/p/DDTRNSYQ", "K7QX-2M0Q"]
)
def test_a_code_is_read_in_each_layout(scanned: str) -> None:
    code = "K7QX2M0Q" if "K7" in scanned else "DDTRNSYQ"
    assert read_scan(scanned) == Scan(code=code)
    assert read_scan(scanned.translate(RUSSIAN)) == Scan(code=code)


def test_a_name_is_no_code() -> None:
    assert read_scan("Нұрланов") is None


@pytest.mark.parametrize("typed", ["K7QX-2M0R", "k7qx2m0r", "Л7ЙЧ-2Ь0К"])
def test_a_mistyped_code_is_told_from_a_name(typed: str) -> None:
    assert read_scan(typed) is None
    assert mistyped_code(typed) == "K7QX2M0R"
    for name in ("Нұрланов", "Махметов", "mahmetov"):
        assert mistyped_code(name) is None
