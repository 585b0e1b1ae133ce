"""Operation numbers and payment codes as people type them, with typing errors."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain import operation_number, payment_code
from procomp_pay.domain.errors import NotFound, Refused

NUMBER = "19000000001"


@pytest.mark.parametrize(
    "typed",
    [
        NUMBER,
        f" {NUMBER}\n",
        "190 0000 0001",
        "190\u00a00000\u202f0001",
        "190-0000-0001",
        "190\u20130000\u20110001",
        f"QR{NUMBER}",
        f"qr {NUMBER}",
        f"№ чека QR{NUMBER}",
        f"№ {NUMBER}",
        f"#{NUMBER}",
        "19OOOOOOOO1",  # Latin O
        "19ООООООоО1",  # Cyrillic O
        "l9000000001",
        "19000000ОО\u0406",
        f"\ufeff{NUMBER}\u200b",
        "".join(chr(0xFF10 + int(digit)) for digit in NUMBER),
        f"000{NUMBER}",
    ],
)
def test_number_is_read_in_any_usual_form(typed: str) -> None:
    assert operation_number.read(typed) == NUMBER


def test_cyrillic_ze_is_read_as_three() -> None:
    assert operation_number.read("1З0000000З1") == "13000000031"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "no operation number"),
        ("QR", "no operation number"),
        ("   ", "no operation number"),
        ("1900000", "has 7: too short"),
        ("00001900000", "has 7: too short"),
        ("1" * 19, "has 19: too long"),
        ("1900000000B", "character 11 here is “B”"),
        ("19000000Б01", "character 9 here is “Б”"),
        ("19000.00001", "character 6 here is “.”"),
        ("19000\x0000001", "character 6 here is U+0000"),
        ("19000000001\x1b[2J", "U+001B"),
        ("١٩٠٠٠٠٠٠٠٠١", "character 1"),
        ("+19000000001", "character 1"),
        ("=1+1", "character 1"),
        ("1e10000000", "character 2"),
    ],
)
def test_invalid_number_names_the_wrong_character(typed: str, message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)) as refused:
        operation_number.read(typed)
    assert refused.value.next_step


@given(st.text(max_size=40))
def test_any_text_gives_a_number_or_is_refused(text: str) -> None:
    try:
        number = operation_number.read(text)
    except Refused:
        return
    assert number.isascii()
    assert number.isdigit()
    assert operation_number.canonical(number) == number == operation_number.read(number)


def test_provider_number_is_never_refused() -> None:
    texts = ["QR019000000001", " 19000000001 ", "TX-19", "777", "0", "", "QR"]
    known = [operation_number.canonical(text) for text in texts]
    assert known == [NUMBER, NUMBER, "TX-19", "777", "0", "", "QR"]


def _code(payment_id: str = "cq3rz6p0sxiqtq1c3ao8l1bc9") -> str:
    return next(payment_code.candidates(payment_id))


def test_codes_are_stable_and_differ() -> None:
    many = {_code(f"c{number}") for number in range(2000)}
    assert len(many) == 2000
    assert all(len(code) == 8 and not set(code) & set("ILOU*~$=") for code in many)
    assert _code() == _code()
    two = payment_code.candidates("c1")
    assert next(two) != next(two)


@given(st.uuids())
def test_every_single_typing_error_is_detected(seed: object) -> None:
    """One wrong character, or two neighbours swapped."""
    code, rng = _code(str(seed)), random.Random(str(seed))
    assert payment_code.read(code) == payment_code.read(payment_code.shown(code).lower()) == code
    place = rng.randrange(8)
    wrong = rng.choice([c for c in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" if c != code[place]])
    slips = [code[:place] + wrong + code[place + 1 :]]
    at = rng.randrange(7)
    slips += [code[:at] + code[at + 1] + code[at] + code[at + 2 :]] if code[at] != code[at + 1] else []
    for slip in slips:
        with pytest.raises(NotFound, match="mistyped"):
            payment_code.read(slip)


def test_look_alikes_are_read_as_the_intended_letters() -> None:
    code = next(c for c in (_code(str(n)) for n in range(9999)) if {"0", "1", "K", "C"} <= set(c))
    assert payment_code.read(code.replace("0", "O").replace("1", "l")) == code
    assert (
        payment_code.read(code.replace("0", "о").replace("1", "І").replace("K", "к").replace("C", "С"))
        == code
    )


@pytest.mark.parametrize("text", ["", "K7QX", "K7QX2M9RR", "K7QXUM9R", "K7Q\x00XM9R", "🙂" * 8, "Ж" * 8])
def test_invalid_code_is_refused(text: str) -> None:
    with pytest.raises(NotFound):
        payment_code.read(text)
