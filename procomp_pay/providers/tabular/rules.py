"""Limits and wording for one kind of file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileRules:
    """The size limit of one kind of file, and the next step that its errors name.

    :param save_again: the next step where the file itself is at fault.
    :param right_format: the next step where it is of a format that is not read.
    :param most_in_sheets: bytes that all sheets of a workbook may have unpacked.
    :param most_in_others: bytes that all its other parts may have unpacked.
    :param longest_line: bytes of a CSV line. ``None`` where the whole file is in memory anyway: then a NUL or
        an endless cell is the fault of its line alone.
    """

    save_again: str
    right_format: str
    most_in_sheets: int
    most_in_others: int
    longest_line: int | None = None
