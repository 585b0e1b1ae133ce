"""``token issue``: a token for operators, where the secret is ours."""

from __future__ import annotations

import time

import jwt
import pytest

from tests.support.terminal import Clerk

SECRET = "a-secret-of-this-test-that-is-long-enough"
ISSUE = ("token", "issue", "--user", "u1", "--role", "staff")


def test_a_token_stands_alone_on_stdout(small_desk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("JWT_AUDIENCE", "pay")
    monkeypatch.setenv("JWT_ISSUER", "procomp")
    said = small_desk.type(*ISSUE, "--ttl", "2h")
    claims = jwt.decode(said.out.strip(), SECRET, algorithms=["HS256"], audience="pay", issuer="procomp")
    assert (claims["sub"], claims["role"]) == ("u1", "staff")
    assert claims["exp"] - time.time() == pytest.approx(7200, abs=30)
    assert "user u1, role staff" in said.err
    assert said.out.strip() not in said.err


def test_on_the_embedded_default_the_key_file_signs(small_desk: Clerk) -> None:
    assert small_desk.type(*ISSUE).out.count(".") == 2


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
def test_what_is_refused(small_desk: Clerk, more: tuple[str, ...], code: int) -> None:
    assert small_desk.type(*ISSUE, *more, code=code).out == ""


def test_what_the_platform_signs_is_its_own(small_desk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "RS256")
    monkeypatch.setenv("JWT_JWKS_URL", "https://procomp.kz/keys")
    said = small_desk.type(*ISSUE, code=3)
    assert "ask the platform for a token" in said.err
    monkeypatch.delenv("JWT_ALGORITHM")
    assert "JWT_ALGORITHM" in small_desk.type(*ISSUE, code=7).err
    assert "JWT_ALGORITHM" in small_desk.type("doctor", code=7).out
