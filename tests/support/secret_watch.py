"""Fail a test whose output holds a secret: what it prints and logs, and the output of our processes.

Code that makes a secret registers it; every captured text is then searched. Under xdist, each worker watches
its own tests.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

import pytest
from pydantic import SecretStr

#: Value to what it is. A short one could be any word.
_known: dict[str, str] = {}
_SHORTEST = 8


def register_secret(value: str | SecretStr | None, name: str) -> None:
    """Register a secret, or several separated by commas, that must not appear from now on."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
    for part in {text, *(word.strip() for word in text.split(","))}:
        if len(part) >= _SHORTEST:
            _known[part] = name


def register_settings(settings: object) -> None:
    """Register all secrets of the settings except the database URL, which tests do not hide."""
    for name in type(settings).model_fields:  # type: ignore[attr-defined]
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and name != "database_url":
            register_secret(value, name)


def seen_in(text: str) -> list[str]:
    """Return the kinds of secrets found in a text."""
    return sorted({name for value, name in _known.items() if value in text})


def no_secret_in(text: str, where: str) -> None:
    """Raise AssertionError if a process's output holds a secret.

    :raises AssertionError: a secret is in it. Its value is not shown again.
    """
    secret = seen_in(text)
    assert not secret, f"secrets in the output of {where}: {', '.join(secret)}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Search the captured output of each phase of each test."""
    report = yield
    secret = seen_in("".join(text for _, text in report.sections))
    if secret:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: secrets in the captured output: {', '.join(secret)}"
        report.sections = [(name, _hidden(text)) for name, text in report.sections]
    return report


def _hidden(text: str, values: Iterable[str] = ()) -> str:
    for value in values or _known:
        text = text.replace(value, "[secret]")
    return text
