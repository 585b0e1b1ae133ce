"""QR codes in terminals of several sizes, with and without colours, and large letters."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st

from procomp_pay.cli.display import qr, screens
from tests.support.patience import PATIENCE_S
from tests.support.terminal import CommandLine
from tests.support.warm_processes import WarmProcess

_DARK = {True: {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}}
_DARK[False] = {char: (1 - top, 1 - low) for char, (top, low) in _DARK[True].items()}


def read_back(lines: list[str], *, ink_is_dark: bool) -> list[list[int]]:
    """Read the modules from drawn lines; 1 is dark."""
    rows = []
    for line in lines:
        pairs = [_DARK[ink_is_dark][char] for char in line]
        rows += [[top for top, _ in pairs], [low for _, low in pairs]]
    return rows


def expected(payload: str) -> list[list[int]]:
    """Return the matrix with four light modules on each side."""
    matrix = [list(row) for row in segno.make(payload, error="l", micro=False).matrix]
    wide = len(matrix) + 8
    margin = [[0] * wide for _ in range(4)]
    return [*margin, *([0] * 4 + row + [0] * 4 for row in matrix), *margin]


@settings(max_examples=30)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200), st.booleans())
def test_the_drawn_qr_is_its_matrix_with_the_margin(payload: str, ink_is_dark: bool) -> None:
    drawn = read_back(qr.lines(qr.picture(payload), ink_is_dark=ink_is_dark), ink_is_dark=ink_is_dark)
    wanted = expected(payload)
    assert drawn[: len(wanted)] == wanted
    assert drawn[len(wanted) :] == [[0] * len(wanted)] * (len(drawn) - len(wanted))


def test_a_kaspi_qr_has_the_smallest_version() -> None:
    picture = qr.picture("35669115252942248871695535286759697800440")
    assert (picture.width, picture.height) == (29, 15)


@pytest.mark.parametrize(
    ("payload", "width", "height", "beside", "above"),
    [
        ("1" * 41, 80, 24, True, False),
        ("1" * 41, 50, 20, False, True),
        ("1" * 41, 60, 18, True, False),
        ("1" * 41, 28, 40, False, False),
        ("1" * 41, 80, 15, False, False),
        ("https://checkout.stripe.com/c/pay/cs_test_" + "x" * 64, 80, 24, True, False),
        ("https://checkout.stripe.com/c/pay/cs_live_" + "x" * 340, 80, 24, False, False),
        ("https://checkout.stripe.com/c/pay/cs_live_" + "x" * 340, 120, 45, True, False),
    ],
)
def test_position_of_the_qr_by_terminal_size(
    payload: str, width: int, height: int, beside: bool, above: bool
) -> None:
    position = screens.position_for(qr.picture(payload), width, height)
    assert (position.beside, position.above, position.fits) == (beside, above, beside or above)


def test_without_colours_the_light_modules_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORFGBG", raising=False)
    assert qr.drawn(qr.picture("1"), coloured=False).plain.startswith("█████")
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert qr.drawn(qr.picture("1"), coloured=False).plain.startswith("     ")
    assert str(qr.drawn(qr.picture("1"), coloured=True).style) == qr.INK


def in_a_terminal(clerk: CommandLine, width: int, height: int, *words: str, **more: str) -> str:
    """Return what a command writes to a terminal of that size."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = clerk.environment() | {"TERM": "xterm-256color", **more}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        if name not in more:
            environment.pop(name, None)
    process = WarmProcess(words, env=environment, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    shown = b""
    while True:
        try:
            part = os.read(outer, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(outer)
    assert process.wait(PATIENCE_S) == 0, shown
    return shown.decode()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (50, 20), (60, 18)])
@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_shows_the_whole_qr(
    sqlite_clerk: CommandLine, width: int, height: int, colour: bool
) -> None:
    payment = sqlite_clerk.ask("initiate", "p2", "--method", "kaspi_qr")
    more = {} if colour else {"NO_COLOR": "1"}
    shown = in_a_terminal(sqlite_clerk, width, height, "initiate", "p2", "--method", "kaspi_qr", **more)
    assert ("\x1b[38;5;16;48;5;231m" in shown) is colour
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "").split("\n")
    wanted = qr.lines(qr.picture(payment["qr_payload"]), ink_is_dark=colour)
    starts = [n for n in range(len(plain)) if plain[n].ljust(29).startswith(wanted[0])]
    assert any(
        all(plain[n + k].ljust(29).startswith(line) for k, line in enumerate(wanted)) for n in starts
    ), shown
    assert payment["payment_id"] in shown


def test_a_terminal_too_small_for_the_qr_shows_its_text(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p2", "--method", "kaspi_qr")
    shown = in_a_terminal(sqlite_clerk, 40, 12, "initiate", "p2", "--method", "kaspi_qr", NO_COLOR="1")
    flat = re.sub(r"\s+", "", shown)
    assert "TheQRneeds29columnsand16lines;thisterminalhas40x12" in flat
    assert payment["qr_payload"] in flat
    assert "--qr-file" in shown


def test_large_letters() -> None:
    assert screens.small("7") == ["▀▀█", "  █", "  ▀"]
    assert screens.large("I", "#") == ["######", "  ##", "  ##", "  ##", "######"]


def test_the_long_link_of_a_page_is_told_why_it_is_not_drawn() -> None:
    link = "https://checkout.stripe.com/c/pay/cs_live_" + "x" * 340
    why = screens.why_no_qr(qr.picture(link), link, 80, 24)
    assert why.startswith("The QR (of a link of 382 characters) needs ")
    assert "this terminal has 80 x 24" in why
    assert screens.why_no_qr(qr.picture("1" * 41), "1" * 41, 28, 10).startswith("The QR needs 29 columns")


def test_a_link_that_is_not_drawn_is_printed_in_one_piece(sqlite_clerk: CommandLine) -> None:
    page = sqlite_clerk.ask("initiate", "p2", "-m", "apple_pay", "--currency", "USD")
    shown = in_a_terminal(
        sqlite_clerk, 60, 18, "initiate", "p2", "-m", "apple_pay", "--currency", "USD", NO_COLOR="1"
    )
    assert page["payment_url"] in shown
    assert "this terminal has 60 x 18" in re.sub(r"\s+", " ", shown)
    assert "Follow it" in shown


@pytest.mark.parametrize("watch", [False, True])
def test_a_wallet_has_the_short_link_of_its_page_in_its_qr(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, watch: bool
) -> None:
    """A link of Stripe's page, of 380 characters in production, fits no usual terminal."""
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://pay.procomp-tournaments.kz/")
    words = ("initiate", "p2", "-m", "apple_pay", "--currency", "USD")
    page = sqlite_clerk.ask(*words)
    if watch:
        sqlite_clerk.pay(page, "apple_pay")  # so that it ends
    shown = in_a_terminal(
        sqlite_clerk, 80, 24, *words, *(["--watch"] if watch else []), NO_COLOR="1",
        PUBLIC_BASE_URL="https://pay.procomp-tournaments.kz/",
    )  # fmt: skip
    assert page["payment_url"] not in shown
    if watch:
        return
    [link] = set(re.findall(r"https://pay\.procomp-tournaments\.kz/p/\S+", shown))
    code = page["code"].replace("-", "").lower()
    assert re.fullmatch(rf".*/p/{code}-[a-z2-7]{{16}}", link)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    first = qr.lines(qr.picture(link), ink_is_dark=False)[3]
    assert first in plain, "the QR is drawn"
    saved = sqlite_clerk.home / "qr.svg"
    sqlite_clerk.type(*words, "--qr-file", str(saved))
    qr.save(link, sqlite_clerk.home / "wanted.svg")
    assert saved.read_bytes() == (sqlite_clerk.home / "wanted.svg").read_bytes()
