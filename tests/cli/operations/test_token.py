"""``token issue``."""

from __future__ import annotations

import time

import jwt
import pytest

from tests.support.terminal import CommandLine

SECRET = "a-secret-of-this-test-that-is-long-enough"
ISSUE = ("token", "issue", "--user", "u1", "--role", "staff")


def test_only_the_token_goes_to_stdout(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("JWT_AUDIENCE", "pay")
    monkeypatch.setenv("JWT_ISSUER", "procomp")
    output = sqlite_clerk.type(*ISSUE, "--ttl", "2h")
    claims = jwt.decode(output.out.strip(), SECRET, algorithms=["HS256"], audience="pay", issuer="procomp")
    assert (claims["sub"], claims["role"]) == ("u1", "staff")
    assert claims["exp"] - time.time() == pytest.approx(7200, abs=30)
    assert "user u1, role staff" in output.err
    assert output.out.strip() not in output.err


def test_the_embedded_default_signs_with_the_key_file(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.type(*ISSUE).out.count(".") == 2


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--ttl", "25h"), 3),
        (("--ttl", "0m"), 3),
        (("--ttl", "never"), 3),
        (("--ttl", ""), 3),
        (("--role", "x"), 2),
    ],
)
def test_refusals_and_their_exit_codes(sqlite_clerk: CommandLine, more: tuple[str, ...], code: int) -> None:
    assert sqlite_clerk.type(*ISSUE, *more, code=code).out == ""


def test_no_token_without_the_platforms_secret(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "RS256")
    monkeypatch.setenv("JWT_JWKS_URL", "https://procomp.kz/keys")
    output = sqlite_clerk.type(*ISSUE, code=3)
    assert "ask the platform for a token" in output.err
    assert "set JWT_AUDIENCE" in sqlite_clerk.type("doctor").out
    monkeypatch.setenv("JWT_AUDIENCE", "pay")
    assert "set JWT_AUDIENCE" not in sqlite_clerk.type("doctor").out
    monkeypatch.delenv("JWT_ALGORITHM")
    assert "JWT_ALGORITHM" in sqlite_clerk.type(*ISSUE, code=7).err
    assert "JWT_ALGORITHM" in sqlite_clerk.type("doctor", code=7).out
