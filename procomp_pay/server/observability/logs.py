"""Structured logs: JSON for machines, lines for people; a request id in each, nothing secret in any.

Everything goes through one pipeline, what libraries log by :mod:`logging` as well.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor

from procomp_pay.config import LogFormat, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.redact import Redactor, one_line

#: The request that is being answered; ``-`` outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
#: What its lines say besides.
_FIELDS: ContextVar[Mapping[str, Any]] = ContextVar("fields", default=MappingProxyType({}))

#: Their debug lines hold bodies and headers: they never speak below WARNING, whatever LOG_LEVEL says.
_CHATTY = ("aiohttp", "aiosqlite", "alembic", "asyncio", "httpcore", "httpx", "sqlalchemy", "stripe")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: What ``extra=`` may add to a line.
_EXTRA = (
    "payment_id", "refund_id", "event_id", "participant_id", "method", "route", "status", "duration_ms",
)  # fmt: skip


#: Made by this pipeline or checked before: nothing to take out, in the lines of which there are most.
_OURS = ("level", "logger", "timestamp", "request_id", "method", "route", "status", "duration_ms")


def set_up(settings: Settings, stream: TextIO | None = None) -> None:
    """Log from the configured level on.

    :param stream: where to; stderr, if not given.
    :raises ConfigurationError: a level that does not exist.
    """
    level, stream = settings.log_level.upper(), stream or sys.stderr
    if level not in _LEVELS:
        raise ConfigurationError("LOG_LEVEL is none of the levels", next_step=f"use {', '.join(_LEVELS)}")
    wanted = settings.log_format or (LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON)
    handler = logging.StreamHandler(stream)
    render = _renderer(wanted, colours=stream.isatty())
    handler.setFormatter(_Formatter(Redactor(settings.secret_values()), render))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_bytes)
    logging.captureWarnings(True)
    threading.excepthook = _from_thread


class _Formatter(logging.Formatter):
    """The pipeline for a line of any logger: one pass, since every request takes it."""

    def __init__(self, redactor: Redactor, render: Processor) -> None:
        super().__init__()
        self._clean, self._render = _Clean(redactor), render

    def format(self, record: logging.LogRecord) -> str:
        """One line; a trace goes behind it, indented."""
        given = record.__dict__
        event: EventDict = {
            **_FIELDS.get(),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **{name: given[name] for name in _EXTRA if name in given},
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        if (known := REQUEST_ID.get()) != "-":
            event.setdefault("request_id", known)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)  # without locals
        return str(self._render(None, record.name, self._clean(event)))


def _renderer(wanted: LogFormat, *, colours: bool) -> Processor:
    if wanted is LogFormat.JSON:
        return _as_json
    return structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, sort_keys=False)


def start_request(**fields: Any) -> None:
    """Bind values to every log line of this request, and forget those of the connection's last request."""
    _FIELDS.set({})
    note(**fields)


def note(**fields: Any) -> None:
    """Bind more values to every further log line of this request; ``None`` is left out."""
    _FIELDS.set({**_FIELDS.get()} | {name: value for name, value in fields.items() if value is not None})


class _Clean:
    """No secrets, and no character that could end a line or steer a terminal, in any field."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, event: EventDict) -> EventDict:
        trace = event.pop("exception", None)
        ours = {name: event.pop(name) for name in _OURS if name in event}
        said = self._redactor.value(event)
        kept = {one_line(str(name)): _lines(each) for name, each in said.items()} | ours
        if trace:
            # its lines are indented: none of them can pass for a line of the log
            text = one_line(self._redactor.text(str(trace)), keep="\n")
            kept["exception"] = "\n".join(f"    {line}" for line in text.split("\n"))
        return kept


def _lines(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(str(name)): _lines(each) for name, each in value.items()}
    return [_lines(each) for each in value] if isinstance(value, list) else value


def _as_json(_logger: Any, _name: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)


def _without_bytes(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is its sender's fault: no trace, which shows its bytes (a long token)."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _from_thread(hook: threading.ExceptHookArgs) -> None:
    """The interpreter would print it as it is."""
    if hook.exc_value is not None and hook.exc_type is not SystemExit:
        log = logging.getLogger(__name__)
        log.error("a thread met a bug", exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))
