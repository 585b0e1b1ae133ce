"""Parse plain parameters (str, int, bool, enum, Path) without pydantic.

Typer would import pydantic for them: a tenth of a second, even for ``status --help`` and a mistyped option.
Lists, ranges and parsers are left to Typer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer._coercion import RuntimeParam

_FLAGS = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True)
_FLAGS |= dict.fromkeys(("0", "false", "f", "no", "n", "off", ""), False)


@dataclass(frozen=True)
class PlainParam(RuntimeParam):
    """A parameter of a plain type."""

    def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
        kind: Any = self.annotation
        if isinstance(value, kind):
            return value
        if issubclass(kind, Enum):
            return _member(kind, str(value), self.parameter_info.case_sensitive, param=param, ctx=ctx)
        try:
            return _FLAGS[str(value).lower()] if kind is bool else kind(value)
        except KeyError:
            raise typer.BadParameter(f"{value!r} is neither yes nor no", ctx=ctx, param=param) from None
        except ValueError:
            message = f"{value!r} is not a whole number"
            raise typer.BadParameter(message, ctx=ctx, param=param) from None


def _member(kind: type[Enum], word: str, case_sensitive: bool, *, param: Any, ctx: Any) -> Enum:
    for member in kind:
        if member.value == word or (not case_sensitive and str(member.value).lower() == word.lower()):
            return member
    known = ", ".join(str(member.value) if case_sensitive else str(member.value).lower() for member in kind)
    raise typer.BadParameter(f"{word!r} is not one of {known}", ctx=ctx, param=param)


def coerce_plain(command: Any) -> None:
    """Replace Typer's parsing of a command's plain parameters; leave the others as they are."""
    original = command.get_params

    def get_params(context: Any) -> list[Any]:
        params: list[Any] = original(context)  # includes --help, which is created on demand
        for param in params:
            _replace(param)
        return params

    command.get_params = get_params


def _replace(param: Any) -> None:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or param.multiple or param.nargs != 1:
        return
    kind, info = descriptor.annotation, descriptor.parameter_info
    is_plain = kind in (str, int, bool, Path) or (isinstance(kind, type) and issubclass(kind, Enum))
    if is_plain and not (info.parser or descriptor.is_ranged or _needs_typer(info)):
        param._runtime_param = PlainParam(parameter_info=info, annotation=kind)


def _needs_typer(info: Any) -> bool:
    """Return whether a path must exist, be resolved and the like."""
    return any((info.exists, info.writable, info.resolve_path, info.allow_dash, info.path_type)) or not (
        info.file_okay and info.dir_okay
    )
