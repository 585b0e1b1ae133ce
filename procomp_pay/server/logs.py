"""Logging: a request id in every line, nothing secret in any."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar

from procomp_pay.domain.errors import ConfigurationError

#: The request that is being answered; ``-`` outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")

#: Their debug lines hold bodies and headers: they never speak below WARNING, whatever LOG_LEVEL says.
_CHATTY = ("aiohttp", "aiosqlite", "alembic", "asyncio", "httpcore", "httpx", "sqlalchemy", "stripe")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SECRETS = re.compile(
    r"\b(?:[sr]k_(?:live|test)_\w+|whsec_\w+|\w+_secret_\w+|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)|(?<=://)[^/@\s:]+:[^/@\s]+@"
)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.request_id = REQUEST_ID.get()
        return redact(super().format(record))


def redact(text: str) -> str:
    """The text without what has the shape of a secret: keys, client secrets, tokens, passwords in URLs."""
    return _SECRETS.sub("[redacted]", text)


def set_up(level: str) -> None:
    """Log to stderr from this level on.

    :raises ConfigurationError: a level that does not exist.
    """
    if level.upper() not in _LEVELS:
        raise ConfigurationError("LOG_LEVEL is none of the levels", next_step=f"use {', '.join(_LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
