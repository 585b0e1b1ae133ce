"""The README and the docs: their commands run as they are printed, their links and options exist."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from procomp_pay.cli.main import app
from procomp_pay.config import Settings
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_fits_its_limits() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 170
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def commands() -> dict[str, set[str]]:
    """Return the options of each command by its full name, as Typer knows them."""
    known: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        known[name] = {o for p in getattr(command, "params", ()) for o in (*p.opts, *p.secondary_opts)} | {
            "--help"
        }
        for child, command_of_group in getattr(command, "commands", {}).items():
            walk(command_of_group, f"{name} {child}".strip())

    walk(get_command(app), "")
    return known


def typed(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the words and the options of each ``procomp-pay …`` in code of a page."""
    fence = r"^```\w*\n(.*?)^```$"
    inline = re.findall(r"`(procomp-pay [^`\n]+)`", re.sub(fence, "", text, flags=re.S | re.M))
    for block in (*re.findall(fence, text, re.S | re.M), *inline):
        for line in re.findall(r"(?<![\w/.-])procomp-pay ([a-z][^\n|;>)]*)", block):
            words = line.split()
            yield words, [w.split("=")[0] for w in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", w)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    known = commands()
    for words, options in typed(page.read_text("utf-8")):
        names = [name for name in (" ".join(words[:3]), " ".join(words[:2]), words[0]) if name in known]
        assert names, f"{page.name}: no command {' '.join(words[:2])}"
        unknown = set(options) - known[names[0]] - known[""]
        assert not unknown, f"{page.name}: {names[0]} has no {unknown}"


def with_too_many(text: str) -> Iterator[str]:
    """Yield each command of a page that has more arguments than it takes."""
    for words, _options in typed(text):
        line = re.sub(r"[][]", "", re.split(r" (?:2?>|&)", " ".join(words))[0])  # [--option]
        try:
            arguments = shlex.split(line, comments=True)
        except ValueError:  # a quotation that the next line ends
            continue
        command: Any = get_command(app)
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        if hasattr(command, "commands") or "…" in line:
            continue
        context = command.context_class(command)
        _values, rest, _order = command.make_parser(context).parse_args(args=arguments)
        yield from [line] if rest else []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_of_a_page_has_an_argument_too_many(page: Path) -> None:
    assert list(with_too_many(page.read_text("utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    names = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md|toml|txt))\b", page.read_text("utf-8"))
    assert [n for n in names if not any((top / n).exists() for top in (ROOT, ROOT / "procomp_pay"))] == []


def test_every_setting_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    documented = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", "".join(re.findall(r"^\| `[^|]*\|", page, re.M))))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_page_is_in_the_menu_and_on_the_first_page() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    links = (ROOT / "docs" / "index.md").read_text("utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if page not in menu} == set()
    assert {page for page in pages if f"({page})" not in links} == {"index.md"}


@dataclass(frozen=True, slots=True)
class TypedLine:
    """A line of the README that was typed into a terminal.

    :param shown: what the terminal showed, without escape sequences.
    :param seconds: until the shell was ready for the next line.
    """

    line: str
    shown: str
    exit_code: int
    seconds: float


class Terminal:
    """An interactive bash on a terminal of its own, as a person has it."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import pty; pty.spawn({bash!r})"],
            cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        #: Processes that the shell put into the background.
        self.background: list[int] = []

    def type(self, line: str, patience_s: float = 60.0) -> TypedLine:
        """Type a line, and read what is shown until the shell is ready for the next one."""
        assert self._process.stdin is not None
        started = time.monotonic()
        self._process.stdin.write(f"{line}\nprintf '@ready %s@\\n' \"$?\"\n".encode())
        self._process.stdin.flush()
        text = ""
        while (done := re.search(r"@ready (\d+)@", text)) is None:
            left = started + patience_s - time.monotonic()
            assert left > 0, f"{line}: no end after {patience_s:.0f} s\n{text}"
            text += self._read(min(left, 1.0))
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r", "", text[: done.start()])
        self.background += [int(pid) for pid in re.findall(r"^\[\d+\] (\d+)$", shown, re.M)]
        shown = shown.replace("\N{NO-BREAK SPACE}", " ")
        return TypedLine(line, shown, int(done[1]), time.monotonic() - started)

    def _read(self, wait_s: float) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], wait_s)[0]:
            return ""
        read = self._process.stdout.read()
        assert read, "the shell ended"
        return str(read, "utf-8", "replace")

    def close(self) -> None:
        """Close the terminal, and end by their ids the processes that are still there."""
        self._process.kill()
        self._process.communicate()
        for pid in self.background:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def first_five_minutes() -> list[str]:
    """Return the lines that the README asks a newcomer to copy."""
    part = README.read_text("utf-8").split("<!-- first-five-minutes -->")[1]
    part = part.split("<!-- /first-five-minutes -->")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", part, re.S) for line in block.splitlines()]


def with_free_ports(lines: list[str]) -> list[str]:
    """Replace the two ports, which may be in use on this machine; all else stays as it is printed."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        sandbox, server = first.getsockname()[1], second.getsockname()[1]
    webhook = f"http://127.0.0.1:{server}/api/v1/payments/webhooks/stripe"
    replacements = {
        "procomp-pay sandbox >": f"procomp-pay sandbox --port {sandbox} --webhook-url {webhook} >",
        "procomp-pay serve >": f"procomp-pay serve --port {server} >",
        "http://127.0.0.1:8600/": f"http://127.0.0.1:{sandbox}/",
    }
    text = "\n".join(lines)
    for printed, replacement in replacements.items():
        assert printed in text
        text = text.replace(printed, replacement)
    return text.split("\n")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in a directory with the environment of the first command, and an empty home."""
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    command = commands / "procomp-pay"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m procomp_pay "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (commands / "activate").write_text(f"PATH={commands}:$PATH\n", encoding="utf-8")
    (tmp_path / "home").mkdir()
    ours = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {
        "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
        "TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_PAGER": "1",  # nobody is there to leave a pager
    }  # fmt: skip
    terminal = Terminal(tmp_path, env)
    try:
        terminal.type("stty -echo cols 110 rows 40; PS1=; PS2=")
        yield terminal
    finally:
        terminal.close()


#: What a newcomer has to see: the beginning of a line, and a pattern that its output contains.
SHOWN = {
    "procomp-pay tournament add": r"Almaty Open.*\n.*\n?.*50\.00 USD",
    "procomp-pay tournament fee": r"24 000\.00 KZT",
    "procomp-pay participant import": r"\b1 registered\b",
    "procomp-pay participant list": r"Aisulu Bekova +-57 kg +REGISTERED +unpaid[^\n]*\n+Тимур Ахметов +-66",
    "procomp-pay initiate $TIMUR": r"(?s)█ ▄▄▄▄▄ █.*24 000\.00 KZT",
    "procomp-pay status $TIMUR": r"PAID 24 000\.00 KZT · Тимур Ахметов",
    "procomp-pay status $AISULU": r"PAID 50\.00 USD · Aisulu Bekova",
    "procomp-pay refund": r"20\.00 USD.* Aisulu Bekova",
    "procomp-pay history": r"(?s)COMPLETED +50\.00 USD.*PAID.*second category.*20\.00 USD REFUNDED",
    "procomp-pay reconcile": r"(?s)Stripe.*Kaspi",
    "procomp-pay report": r"(?s)revenue +24 000\.00 +50\.00\n.*refunds +0\.00 +-20\.00\n",
    "procomp-pay audit verify": r"intact: \d+ entries in 3 chains",
}


def test_the_first_five_minutes_work_as_they_are_printed(terminal: Terminal) -> None:
    checked = set()
    typed_lines = []
    for line in with_free_ports(first_five_minutes()):
        typed_lines.append(terminal.type(line))
        shown = typed_lines[-1].shown
        assert typed_lines[-1].exit_code == 0, f"{line}\n{shown}"
        assert "Traceback" not in shown, f"{line}\n{shown}"
        assert "✗" not in shown, f"{line}\n{shown}"
        for beginning in (item for item in SHOWN if line.startswith(item)):
            assert re.search(SHOWN[beginning], shown), f"{line}\n{shown}"
            checked.add(beginning)
    assert checked == SHOWN.keys()
    assert sum(item.seconds for item in typed_lines) < 240
    # the last line ends what was started: nothing of it may be left
    assert len(terminal.background) == 2
    deadline = time.monotonic() + PATIENCE_S
    while any(is_running(pid) for pid in terminal.background):
        assert time.monotonic() < deadline, "the sandbox or the server is still there"
        time.sleep(0.1)
