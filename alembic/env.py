"""Run Alembic from a checkout (``alembic upgrade head``) or from ``procomp_pay.storage.database.migrate``."""

from __future__ import annotations

from logging.config import fileConfig
from typing import Any, Literal

from alembic import context

from procomp_pay.config import load_settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.database import migrate
from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES
from procomp_pay.storage.models.types import Word


def _url() -> str:
    """Return the URL that ``migrate`` was called with, or else the configured one."""
    url = context.config.attributes.get("url")
    return str(url) if url else load_settings().url


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Return whether a table is ours: the platform's are never altered, nor any others in its database."""
    return kind != "table" or (name in METADATA.tables and name not in PLATFORM_TABLES)


def _includes(_item: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    return _is_ours(name, kind, None)


def _write_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our enums as text in revisions, because the enums change."""
    if kind == "type" and isinstance(item, Word):
        return "sa.Text()"
    if kind == "type" and type(item).__module__ == "procomp_pay.storage.models.types":
        return f"types.{type(item).__name__}()"
    return False


def _run() -> None:
    with migrate.exclusive(_url()) as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            version_table=migrate.VERSION_TABLE,
            transactional_ddl=True,  # on SQLite too: a killed migration leaves nothing behind
            include_name=_is_ours,
            include_object=_includes,
            render_item=_write_type,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            migrate.lock_in_transaction(connection)
            context.run_migrations()


if context.is_offline_mode():
    raise ConfigurationError("migrations read the database, so --sql is not supported")
if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
_run()
