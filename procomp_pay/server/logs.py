"""Structured logs: JSON for machines, lines for people; a request id in each, nothing secret in any.

Everything goes through one pipeline, what libraries log by :mod:`logging` as well.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.contextvars import bind_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor

from procomp_pay.config import LogFormat, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.redact import Redactor, one_line

#: The request that is being answered; ``-`` outside of one.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")

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
    handler.setFormatter(formatter(Redactor(settings.secret_values()), wanted, colours=stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_bytes)
    logging.captureWarnings(True)
    threading.excepthook = _from_thread


def formatter(redactor: Redactor, wanted: LogFormat, *, colours: bool = False) -> logging.Formatter:
    """The pipeline for a line of any logger."""
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_extra,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    last: Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if wanted is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, sort_keys=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # the standard library's: without locals
            _Clean(redactor),
            last,
        ],
    )


def start_request(**fields: Any) -> None:
    """What every line of this request says besides; forgets the request before on the same connection."""
    clear_contextvars()
    note(**fields)


def note(**fields: Any) -> None:
    """What every further line of this request says besides; ``None`` is left out."""
    bind_contextvars(**{name: value for name, value in fields.items() if value is not None})


class _Clean:
    """No secrets, and no character that could end a line or steer a terminal, in any field."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: Any, _name: str, event: EventDict) -> EventDict:
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


def _add_extra(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """As structlog's own, which makes a record to compare with for every line."""
    given = event["_record"].__dict__
    event.update({name: given[name] for name in _EXTRA if name in given})
    return event


def _add_request_id(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if (known := REQUEST_ID.get()) != "-":
        event.setdefault("request_id", known)
    return event


def _dumps(event: EventDict, **_: Any) -> str:
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
