"""Structured logs: JSON for machines, plain lines for people; each with a request id, none with a secret.

Everything that is logged goes through one pipeline, also what libraries log by :mod:`logging`.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor

from procomp_pay.config import LogFormat, Settings
from procomp_pay.domain.errors import ConfigurationError, PaymentError
from procomp_pay.domain.redact import Redactor, one_line

#: The id of the current request; ``-`` outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
#: Further fields of every log line of the current request.
_FIELDS: ContextVar[Mapping[str, Any]] = ContextVar("fields", default=MappingProxyType({}))

#: Their debug lines hold bodies and headers: they log at WARNING or above, whatever LOG_LEVEL says.
_VERBOSE_LIBRARIES = (
    "aiohttp",
    "aiosqlite",
    "alembic",
    "asyncio",
    "httpcore",
    "httpx",
    "sqlalchemy",
    "stripe",
)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Fields that ``extra=`` may add to a line.
_EXTRA = (
    "payment_id", "refund_id", "event_id", "participant_id", "method", "route", "status", "duration_ms",
)  # fmt: skip


_PACKAGE = str(Path(__file__).parents[2])
#: Seconds between two lines about the same fault.
QUIET_S = 60
#: The most faults that are told apart.
_MOST_FAULTS = 200
#: Fields made by this pipeline or checked before. Not redacting them keeps the most frequent lines cheap.
_SAFE = ("level", "logger", "timestamp", "request_id", "method", "route", "status", "duration_ms")


def level_of(settings: Settings) -> str:
    """Return the level of the log.

    :raises ConfigurationError: a level that does not exist.
    """
    level = settings.log_level.upper()
    if level not in _LEVELS:
        raise ConfigurationError("LOG_LEVEL is not a log level", next_step=f"use {', '.join(_LEVELS)}")
    return level


def set_up(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up logging at the configured level.

    :param stream: the destination; stderr by default.
    :raises ConfigurationError: a level that does not exist.
    """
    level, stream = level_of(settings), stream or sys.stderr
    log_format = settings.log_format or (LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON)
    handler = logging.StreamHandler(stream)
    render = _renderer(log_format, colours=stream.isatty())
    handler.addFilter(_OncePerMinute())
    handler.setFormatter(_Formatter(Redactor(settings.secret_values()), render))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_bytes)
    logging.captureWarnings(True)
    threading.excepthook = _from_thread


class _Formatter(logging.Formatter):
    """The pipeline for the lines of all loggers; one pass, because every request goes through it."""

    def __init__(self, redactor: Redactor, render: Processor) -> None:
        super().__init__()
        self._sanitize, self._render = _Sanitizer(redactor), render

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback follows it, indented."""
        attributes = record.__dict__
        event: EventDict = {
            **_FIELDS.get(),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **{name: attributes[name] for name in _EXTRA if name in attributes},
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        if (request_id := REQUEST_ID.get()) != "-":
            event.setdefault("request_id", request_id)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)  # without local variables
        return str(self._render(None, record.name, self._sanitize(event)))


def _renderer(log_format: LogFormat, *, colours: bool) -> Processor:
    if log_format is LogFormat.JSON:
        return _as_json
    return structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, sort_keys=False)


def start_request(**fields: Any) -> None:
    """Bind values to every log line of this request, and forget those of the connection's last request."""
    _FIELDS.set({})
    note(**fields)


def note(**fields: Any) -> None:
    """Bind more values to every further log line of this request; ``None`` is left out."""
    _FIELDS.set({**_FIELDS.get()} | {name: value for name, value in fields.items() if value is not None})


def note_unavailable(error: PaymentError) -> None:
    """Bind the reason of a 503, and our functions that it came through, to the request's further lines: the
    client is told neither, and of the lines about an outage only one a minute is written."""
    if error.http_status != 503:
        return
    frames = (frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [code.co_name for code in frames if code.co_filename.startswith(_PACKAGE)]
    note(reason=error.message, raised_by=" > ".join(names))


class _Sanitizer:
    """Removes secrets, and characters that could end a line or control a terminal, from every field."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, event: EventDict) -> EventDict:
        trace = event.pop("exception", None)
        safe = {name: event.pop(name) for name in _SAFE if name in event}
        redacted = self._redactor.value(event)
        fields = {one_line(str(name)): _one_line_values(value) for name, value in redacted.items()} | safe
        if trace:
            # indented, so that none of its lines looks like a line of the log
            text = one_line(self._redactor.text(str(trace)), keep="\n")
            fields["exception"] = "\n".join(f"    {line}" for line in text.split("\n"))
        return fields


def _one_line_values(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(str(name)): _one_line_values(item) for name, item in value.items()}
    return [_one_line_values(item) for item in value] if isinstance(value, list) else value


def _as_json(_logger: Any, _name: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)


class _OncePerMinute(logging.Filter):
    """Let one line in a minute pass of those about the same fault (``extra={"fault": …}``), and have the next
    one say how many there were."""

    def __init__(self) -> None:
        super().__init__()
        #: When a line about the fault passed, and how many did not since.
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        fault = getattr(record, "fault", None)
        if fault is None:
            return True
        fault = f"{record.levelname} {fault}"  # a warning must not hide an error
        at, more = self._seen.get(fault, (-math.inf, 0))
        if 0 <= record.created - at < QUIET_S:
            self._seen[fault] = at, more + 1
            return False
        self._seen.pop(fault, None)
        self._seen[fault] = record.created, 0  # as the last one
        if len(self._seen) > _MOST_FAULTS:
            self._seen.popitem(last=False)
        if more:
            record.msg, record.args = f"{record.getMessage()} ({more} more lines like it since)", None
        return True


def _without_bytes(record: logging.LogRecord) -> bool:
    """Drop the traceback of a malformed request: it shows its bytes, and they may hold a token."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _from_thread(hook: threading.ExceptHookArgs) -> None:
    """Log an exception of a thread, which the interpreter would print unredacted."""
    if hook.exc_value is not None and hook.exc_type is not SystemExit:
        log = logging.getLogger(__name__)
        log.error("a thread met a bug", exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))
