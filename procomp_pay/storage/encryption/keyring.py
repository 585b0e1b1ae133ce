"""Encrypt and sign: a ring of Fernet keys, newest first, and its key file.

Nothing here is global: code that reads or writes ciphertext gets a :class:`Keyring` as a parameter.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: The first line of a key file with several keys.
_REMARK = "# the newest first; whether an older one is still needed: procomp-pay keys rotate --check"
#: The first byte of a compressed document. JSON cannot begin with it.
_PACKED = b"\x01"
_MAKE = "put back the key that this database was used with; for a new database: procomp-pay keys new"


class Keyring:
    """Encrypt and sign with the newest key; decrypt and verify with any.

    :param keys: Fernet keys (32 bytes, urlsafe base64), newest first.
    :param newer: returns the keys again if they have changed, else ``None``. Called before each use, so that
        a running process notices a key that is added to its file.
    :raises ConfigurationError: no key, or an invalid one. The message does not contain it.
    """

    def __init__(self, keys: Sequence[str], newer: Callable[[], Sequence[str] | None] | None = None) -> None:
        self._newer = newer
        self._take(keys)

    def __repr__(self) -> str:
        return f"Keyring({len(self._secrets)} keys)"

    def __len__(self) -> int:
        self._refresh()
        return len(self._secrets)

    def _take(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigurationError("there is no encryption key", next_step=_MAKE)
        self._secrets = [_decode(key, number) for number, key in enumerate(keys, start=1)]
        self._fernets: MultiFernet | None = None
        self._signers: dict[str, list[bytes]] = {}

    def _refresh(self) -> None:
        keys = self._newer() if self._newer is not None else None
        if keys is not None:
            self._take(keys)

    def encrypt(self, text: str) -> str:
        """Encrypt text with the newest key."""
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Decrypt a ciphertext of any of the keys.

        :raises ConfigurationError: no key decrypts it, or the ciphertext was changed.
        """
        return self._decrypted(token).decode()

    def seal(self, body: bytes) -> str:
        """Compress and encrypt a document: compressed, it takes a third of the space."""
        return self._fernet().encrypt(_PACKED + zlib.compress(body, 1)).decode()

    def unseal(self, token: str) -> bytes:
        """Decrypt a document of :meth:`seal`, or of :meth:`encrypt` in earlier versions.

        :raises ConfigurationError: no key decrypts it, or the ciphertext was changed.
        """
        plain = self._decrypted(token)
        return zlib.decompress(plain[1:]) if plain.startswith(_PACKED) else plain

    def _decrypted(self, token: str) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(token.encode())
        except InvalidToken:
            raise _no_key_fits() from None

    def rotate(self, token: str) -> str:
        """Encrypt the same text again with the newest key.

        :raises ConfigurationError: no key decrypts it.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().rotate(token.encode()).decode()
        except InvalidToken:
            raise _no_key_fits() from None

    def is_newest(self, token: str) -> bool:
        """Return whether the newest key decrypts the ciphertext; False also if no key does."""
        from cryptography.fernet import Fernet, InvalidToken

        self._refresh()
        try:
            Fernet(base64.urlsafe_b64encode(self._secrets[0])).decrypt(token.encode())
        except InvalidToken:
            return False
        return True

    def sign(self, purpose: str, text: str) -> str:
        """Return a signature (43 urlsafe characters) of the text, valid for this purpose only."""
        return _signature(self._signing_keys(purpose)[0], text)

    def signatures(self, purpose: str, text: str) -> list[str]:
        """Return the text's signature with each key, newest first."""
        return [_signature(key, text) for key in self._signing_keys(purpose)]

    def verify(self, purpose: str, text: str, signature: str) -> bool:
        """Return whether any of the keys signed the text for this purpose, in constant time."""
        expected = signature.encode()
        matches = [
            hmac.compare_digest(_signature(key, text).encode(), expected)
            for key in self._signing_keys(purpose)
        ]
        return any(matches)

    def _fernet(self) -> MultiFernet:
        self._refresh()
        if self._fernets is None:
            from cryptography.fernet import Fernet, MultiFernet

            self._fernets = MultiFernet(
                [Fernet(base64.urlsafe_b64encode(secret)) for secret in self._secrets]
            )
        return self._fernets

    def _signing_keys(self, purpose: str) -> list[bytes]:
        self._refresh()
        if purpose not in self._signers:
            self._signers[purpose] = [_derive(secret, purpose) for secret in self._secrets]
        return self._signers[purpose]


def new_key() -> str:
    """Return a new random Fernet key."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def load_or_make_key_file(path: Path) -> list[str]:
    """Return the keys in the file, newest first (one per line, ``#`` for comments); create a missing file.

    If several processes do this at once, one creates the file and all read the same key.

    :raises ConfigurationError: others may read the file, it has no key, or it cannot be read or created.
    """
    try:
        if not path.exists():
            _make_key_file(path)
        return _read_key_file(path)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be used: {error.strerror}",
            next_step="check its directory and its permissions",
        ) from error


def key_file_ring(path: Path) -> Keyring:
    """Return the ring of a key file, which is created if it is missing. The ring follows changes of the file.

    :raises ConfigurationError: as :func:`load_or_make_key_file`.
    """
    keys = load_or_make_key_file(path)
    seen = [_file_version(path)]

    def newer() -> list[str] | None:
        version = _file_version(path)
        if version is None or version == seen[0]:
            return None  # a deleted file takes no keys from a running process
        changed = load_or_make_key_file(path)
        seen[0] = version
        return changed

    return Keyring(keys, newer)


def _file_version(path: Path) -> tuple[int, int, int] | None:
    try:
        stat_result = path.stat()
    except OSError:
        return None
    return stat_result.st_ino, stat_result.st_size, stat_result.st_mtime_ns


def add_key(path: Path) -> None:
    """Put a new key in front of a key file and keep the older ones after it, atomically.

    :raises ConfigurationError: as :func:`load_or_make_key_file`.
    """
    load_or_make_key_file(path)
    try:
        lines = [_REMARK, new_key(), *path.read_text("utf-8").splitlines()]
        kept = [line for number, line in enumerate(lines) if number == 0 or line != _REMARK]
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        _write_new(draft, "\n".join(kept) + "\n")
        draft.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be written: {error.strerror}",
            next_step="check its directory and its permissions",
        ) from error


def _sync_directory(path: Path) -> None:
    """Flush the directory, so that a key is on the disk before rows that were encrypted with it."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _make_key_file(path: Path) -> None:
    """Write the file under another name, then link it into place: no reader ever sees half a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write_new(draft, new_key() + "\n")
    try:
        os.link(draft, path)  # fails if another process was first: then its key is used
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _write_new(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read_key_file(path: Path) -> list[str]:
    with path.open() as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise ConfigurationError(
                f"the key file {path} can be read by others (mode {mode:04o})", next_step=f"chmod 600 {path}"
            )
        lines = [line.strip() for line in file]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigurationError(f"the key file {path} contains no key", next_step=_MAKE)
    return keys


def _decode(key: str, number: int) -> bytes:
    try:
        secret = base64.b64decode(key.strip().encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        secret = b""
    if len(secret) != 32:
        raise ConfigurationError(f"encryption key number {number} is not a Fernet key", next_step=_MAKE)
    return secret


def _derive(secret: bytes, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=32, salt=None, info=b"procomp-pay sign " + purpose.encode()).derive(secret)


def _signature(key: bytes, text: str) -> str:
    digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _no_key_fits() -> ConfigurationError:
    return ConfigurationError(
        "a stored secret cannot be decrypted with the present encryption keys",
        next_step="add the key that encrypted it to ENCRYPTION_KEYS, after the newest",
    )
