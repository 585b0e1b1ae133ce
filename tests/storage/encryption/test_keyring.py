"""Keys: the ring, its rotation, and the file that holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.encryption.keyring import (
    Keyring,
    add_key,
    key_file_ring,
    load_or_make_key_file,
    new_key,
)
from tests.support.patience import PATIENCE_S

OLD, NEW = new_key(), new_key()


def test_encrypted_text_is_decrypted() -> None:
    ring = Keyring([OLD])
    token = ring.encrypt("pi_1_secret_ключ")
    assert "secret" not in token
    assert ring.decrypt(token) == "pi_1_secret_ключ"


def test_old_ciphertext_is_read_and_rotated() -> None:
    token = Keyring([OLD]).encrypt("text")
    ring = Keyring([NEW, OLD])
    assert ring.decrypt(token) == "text"
    assert Keyring([NEW]).decrypt(ring.rotate(token)) == "text"
    assert Keyring([NEW]).decrypt(ring.encrypt("new")) == "new"


@pytest.mark.parametrize("spoil", [lambda token: token[:-4] + "AAA=", lambda _: "", lambda _: "кто"])
def test_changed_or_foreign_ciphertext_is_refused(spoil: object) -> None:
    token = Keyring([OLD]).encrypt("text")
    assert callable(spoil)
    with pytest.raises(ConfigurationError) as caught:
        Keyring([OLD]).decrypt(spoil(token))
    assert caught.value.exit_code == 7
    with pytest.raises(ConfigurationError):
        Keyring([NEW]).decrypt(token)
    with pytest.raises(ConfigurationError):
        Keyring([NEW]).rotate(token)


def test_signatures_are_valid_for_one_text_and_purpose() -> None:
    ring = Keyring([OLD])
    signature = ring.sign("qr", "pay1")
    assert len(signature) == 43
    assert ring.verify("qr", "pay1", signature)
    assert not ring.verify("qr", "pay2", signature)
    assert not ring.verify("cursor", "pay1", signature)
    assert not ring.verify("qr", "pay1", "")
    assert not ring.verify("qr", "pay1", "подпись")
    assert Keyring([NEW, OLD]).verify("qr", "pay1", signature)
    assert not Keyring([NEW]).verify("qr", "pay1", signature)
    assert Keyring([NEW, OLD]).sign("qr", "pay1") == Keyring([NEW]).sign("qr", "pay1")


@pytest.mark.parametrize(
    "keys", [[], ["short"], [OLD, "ключ" * 11], [OLD + "!!"]], ids=["none", "short", "not ASCII", "spoilt"]
)
def test_invalid_keys_are_rejected_without_showing_them(keys: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Keyring(keys)
    assert not any(key in str(caught.value) for key in keys)


def test_keys_are_not_shown() -> None:
    assert OLD not in repr(Keyring([OLD]))


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "procomp-pay.key"
    keys = load_or_make_key_file(path)
    assert load_or_make_key_file(path) == keys
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    Keyring(keys)


def test_several_keys_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"# rotated in June\n{NEW}\n\n{OLD}\n")
    path.chmod(0o600)
    assert load_or_make_key_file(path) == [NEW, OLD]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_or_make_key_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="read by others") as caught:
        load_or_make_key_file(path)
    assert caught.value.exit_code == 7
    assert "chmod 600" in str(caught.value.next_step)


def test_errors_name_an_empty_or_unreadable_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    with pytest.raises(ConfigurationError, match="contains no key") as caught:
        load_or_make_key_file(path)
    # a new key would read nothing of what was encrypted
    assert "put back the key that this database was used with" in str(caught.value.next_step)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_or_make_key_file(path / "below")


def test_concurrent_processes_get_the_same_key(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from procomp_pay.storage.encryption.keyring import load_or_make_key_file\n"
        "sys.stdin.read()\n"
        "print(load_or_make_key_file(pathlib.Path(sys.argv[1])))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "d" / "key")],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    assert len({process.communicate(timeout=PATIENCE_S)[0] for process in running}) == 1


def test_a_new_key_is_added_before_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "key"
    [first] = load_or_make_key_file(path)
    add_key(path)
    add_key(path)
    keys = load_or_make_key_file(path)
    assert (len(set(keys)), keys[2]) == (3, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().count("#") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_running_process_follows_its_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    running, before = key_file_ring(path), key_file_ring(path)
    link, token = running.sign("qr", "p"), running.encrypt("text")
    add_key(path)
    other = key_file_ring(path)
    assert running.decrypt(other.rotate(token)) == "text"
    assert running.verify("qr", "p", other.sign("qr", "p"))
    assert other.verify("qr", "p", link), "what was signed before stays valid while its key is there"
    assert other.is_newest(running.encrypt("x"))
    assert not other.is_newest(token)
    assert len(before) == 2
    path.unlink()
    assert running.decrypt(token) == "text", "who runs keeps what it has read"
