"""The README and the docs: their commands run as they are printed, their links and options exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from procomp_pay.cli.main import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    code = re.findall(r"```(?:sh|ini|bash)?\n(.*?)```", text, re.S) + re.findall(
        r"`(procomp-pay [^`\n]+)`", text
    )
    for block in code:
        for line in re.findall(r"(?<![\w/.-])procomp-pay ([a-z][^\n|;>)]*)", block):
            words = line.split()
            yield words, [w.split("=")[0] for w in words if re.fullmatch(r"--[a-z][a-z-]+(=.*)?", w)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    known = commands()
    for words, options in typed(page.read_text("utf-8")):
        names = [name for name in (" ".join(words[:3]), " ".join(words[:2]), words[0]) if name in known]
        assert names, f"{page.name}: no command {' '.join(words[:2])}"
        unknown = set(options) - known[names[0]] - known[""]
        assert not unknown, f"{page.name}: {names[0]} has no {unknown}"


def test_the_first_five_minutes_work_as_they_are_printed(tmp_path: Path) -> None:
    block = README.read_text("utf-8").split("<!-- first-five-minutes -->")[1]
    lines = block.split("```sh\n")[1].split("```")[0].splitlines()
    assert lines[0] == ". .venv/bin/activate"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "KASPI_"))}
    for name in ("DATABASE_URL", "ENCRYPTION_KEYS", "JWT_SECRET"):
        env.pop(name, None)
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    command = bin_directory / "procomp-pay"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m procomp_pay "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    env |= {"HOME": str(tmp_path), "PATH": f"{bin_directory}:{env['PATH']}", "TMPDIR": str(tmp_path)}
    env["PYTHONUTF8"] = "1"
    script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\nset -eo pipefail\n" + "\n".join(lines[1:]) + "\n"
    done = subprocess.run(
        ["bash", "-s"],
        input=script,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = (done.stdout + done.stderr).replace("\u00a0", " ")
    assert done.returncode == 0, output
    assert "24 000.00 KZT" in output
    assert "Aisulu Bekova  COMPLETED" in output
    assert "Тимур Ахметов  COMPLETED" in output
    assert output.count("0 differences, 0 open") == 2, "Stripe and Kaspi agree with us"
    assert "50.00 USD" in output
