"""A clerk's terminal with operators: an admin, finance, and two at the desk, one of them for t1 alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.cli.framework.login_file import keep_login
from procomp_pay.cli.operators import commands
from procomp_pay.config import load_settings
from tests.support.secret_watch import register_secret
from tests.support.terminal import CommandLine, Output

PINS = {"marat": "731946", "dana": "258014", "aigerim": "640287", "erlan": "917350"}
FIRST_PIN = "404142"
ROLES = {"marat": "admin", "dana": "finance", "aigerim": "desk", "erlan": "desk"}


class Terminal:
    """Commands, with PINs from the environment where they are asked for."""

    def __init__(self, clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
        self.clerk, self.state = clerk, state
        self._monkeypatch = monkeypatch
        self.type, self.ask = clerk.type, clerk.ask

    def add(self, name: str, *options: str) -> None:
        """Add an operator, who chooses a PIN in place of the first one; who was logged in still is."""
        files = list((self.state / "procomp-pay").glob("login-*.json"))
        before = [file.read_bytes() for file in files]
        with self._monkeypatch.context() as patch:
            patch.setenv("PROCOMP_PIN", FIRST_PIN if files else PINS[name])
            self.ask("operator", "add", name, "--role", ROLES[name], *options)
        if files:
            self.choose(name, FIRST_PIN)
            files[0].write_bytes(before[0])

    def choose(self, name: str, given: str) -> None:
        """Log in with a PIN that an admin gave, and choose another one as on a terminal."""
        with self._monkeypatch.context() as patch:
            patch.setattr(commands, "_can_choose", lambda **_: True)
            patch.setattr(commands, "_chosen_pin", lambda _: PINS[name])
            self.login(name, given)

    def login(self, name: str, pin: str | None = None, code: int = 0) -> Output:
        with self._monkeypatch.context() as patch:
            patch.setenv("PROCOMP_PIN", pin or PINS[name])
            return self.clerk.type("operator", "login", name, code=code)

    def with_approver(self, pin: str, *words: str, code: int = 0) -> Output:
        with self._monkeypatch.context() as patch:
            patch.setenv("PROCOMP_APPROVER_PIN", pin)
            return self.clerk.type(*words, code=code)

    def approve(self, name: str, request: str, code: int = 0) -> Any:
        words = ("operator", "approve", request, "--yes", "--json")
        return self.with_approver(PINS[name], *words, code=code).json

    def login_file(self) -> Path:
        [path] = (self.state / "procomp-pay").glob("login-*.json")
        return path


@pytest.fixture(scope="session")
def with_operators() -> dict[str, tuple[str, bytes]]:
    """For each kind of database: a copy that has the operators, and the file of the admin's login."""
    return {}


@pytest.fixture
def terminal(
    clerk: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    with_operators: dict[str, tuple[str, bytes]],
    request: pytest.FixtureRequest,
) -> Terminal:
    """The operators, of whom the admin is logged in; they are added once, as an admin does."""
    monkeypatch.delenv("PROCOMP_OPERATOR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    register_secret(FIRST_PIN, "first PIN")
    for name, pin in PINS.items():
        register_secret(pin, f"PIN of {name}")
    made = Terminal(clerk, monkeypatch, tmp_path / "state")
    kind, _, path = clerk.url.partition(":///")
    if (kept := with_operators.get(kind)) is not None:
        copy, login = kept
        if kind == "sqlite":
            shutil.copy(copy, path)
        else:
            server = request.getfixturevalue("postgres_server")
            server.replace(server.name(clerk.url), copy)
        keep_login(load_settings(), "marat", json.loads(login)["token"])
        return made
    made.add("marat")
    made.login("marat")
    made.add("dana")
    made.add("aigerim")
    made.add("erlan", "--tournament", "t1")
    if kind == "sqlite":
        copy = str(request.getfixturevalue("tmp_path_factory").mktemp("operators") / "operators.sqlite3")
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    else:
        server = request.getfixturevalue("postgres_server")
        copy = server.create(server.name(clerk.url))
    with_operators[kind] = copy, made.login_file().read_bytes()
    return made
