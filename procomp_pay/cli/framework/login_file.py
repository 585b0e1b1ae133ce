"""The file with the name and the token of a login, for one user of the operating system and one database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.config import Settings


def os_user() -> str:
    """Return the user of the operating system, by the number that cannot be chosen in the environment."""
    if hasattr(os, "getuid"):
        return f"uid {os.getuid()}"
    import getpass

    return f"user {getpass.getuser()}"


def login_path(settings: Settings) -> Path:
    """Return the file of the login, one for each database."""
    import hashlib

    return _directory() / f"login-{hashlib.sha256(settings.url.encode()).hexdigest()[:16]}.json"


def _directory() -> Path:
    from platformdirs import user_state_path

    return user_state_path("procomp-pay")


def has_login() -> bool:
    """Return whether there is a file of any login; cheap, for those who never log in."""
    return any(_directory().glob("login-*.json"))


def kept_login(settings: Settings) -> dict[str, str] | None:
    """Return the name and the token of the login; ``None`` where there is none.

    :raises Refused: the file is another user's, or others can read it.
    """
    path = login_path(settings)
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
                raise Refused(
                    N_("%(path)s belongs to another user, or others can read it: it is not used", path=path),
                    next_step=N_("delete it, and log in: procomp-pay operator login NAME"),
                )
            kept = json.load(file)
            return {"operator": str(kept["operator"]), "token": str(kept["token"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_login(settings: Settings, name: str, token: str) -> None:
    """Write the file of the login, for this user alone."""
    path = login_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(
        os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump({"operator": name, "token": token}, file)
    draft.replace(path)


def forget_login(settings: Settings) -> None:
    """Remove the file of the login."""
    login_path(settings).unlink(missing_ok=True)
