"""Logging: a request id in every line, nothing secret in any."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar

from aiohttp.http_exceptions import HttpProcessingError

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


def _without_bytes(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is its sender's fault: no trace, which shows its bytes (a long token)."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


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
    logging.getLogger("aiohttp.server").addFilter(_without_bytes)
