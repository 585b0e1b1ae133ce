"""Rename the platform's tables as ``PLATFORM_MAP`` says, right after their declaration and before any use.

Keys stay ours: ``table.c["userId"]`` is the column, whatever its name is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Text, event, func, inspect, type_coerce
from sqlalchemy.orm import column_property
from sqlalchemy.schema import Table

from procomp_pay.config.platform_map import FULL_NAME, PlatformMap
from procomp_pay.domain.errors import Refused
from procomp_pay.storage.models.types import PlatformLabel, PlatformText


def rename(platform: PlatformMap, models: Mapping[str, Any], unknown: str) -> None:
    """Give the tables of the models, by our names, the platform's.

    :param unknown: what is read in the place of a full name that is NULL.
    """
    for name, model in models.items():
        table: Table = model.__table__
        table.name, table.schema = platform.table(name), platform.schema
        table.fullname = f"{table.schema}.{table.name}" if table.schema else table.name
        for column in table.columns:
            column.name = platform.column(name, column.key)[0]
            if isinstance(column.type, PlatformLabel):
                column.type.rename(platform)
    name, key = FULL_NAME
    names = platform.column(name, key)
    if len(names) > 1:
        _read_of_two(models[name], key, names[1], unknown)


def _read_of_two(model: Any, key: str, second: str, unknown: str) -> None:
    """Read the full name of two columns. It is not written: nobody knows which part belongs into which."""
    table: Table = model.__table__
    first: Column[Any] = table.c[key]
    last: Column[Any] = Column(second, Text, nullable=False)
    table.append_column(last)
    text = func.nullif(func.concat_ws(" ", first, last), "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it takes the place of the column
        model.full_name = column_property(type_coerce(text, PlatformText(unknown)))

    def refuse(_mapper: Any, _connection: Any, row: Any) -> None:
        if inspect(row).attrs.full_name.history.has_changes():
            raise Refused(
                f'The platform has a name in two columns ("{first.name}" and "{last.name}"), '
                "which procomp-pay does not write",
                next_step="register people, and correct their names, in the platform",
            )

    event.listen(model, "before_insert", refuse)
    event.listen(model, "before_update", refuse)
