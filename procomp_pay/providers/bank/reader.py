"""Read a bank's statement whole, or refuse it: a file of which half is missing is never used.

The format is known by the content: ``1CClientBankExchange``, MT940 (``:20:``), else CSV by a mapping.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import AGAIN, BankFile, plain_account
from procomp_pay.providers.tabular.file_type import cannot_open, not_a_file

#: Bytes: a year of a busy account has a few.
_MOST = 50_000_000


def read_bank_file(
    path: Path, *, account: str | None = None, columns: Mapping[str, str] | None = None
) -> BankFile:
    """Read a statement.

    :param account: the account that it must be of; a CSV file does not name it.
    :param columns: of a CSV file: our names and those of its head.
    :raises InvalidFile: it cannot be read for certain, a part of it is missing, or it is of another account.
    """
    content = _content(path)
    wanted = None if account is None else plain_account(account)
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"1CClientBankExchange"):
        from procomp_pay.providers.bank.one_c import read_1c as read
    elif re.search(rb"^:20:", content[:4096], re.M):
        from procomp_pay.providers.bank.mt940_file import read_mt940 as read
    else:
        from procomp_pay.providers.bank.csv_statement import read_csv

        return read_csv(path, wanted, columns)
    if columns:
        raise InvalidFile(
            N_("--columns is for CSV files, and this is none"), next_step=N_("leave --columns out")
        )
    if b"\0" in content:  # neither format has any, and PostgreSQL stores none
        raise InvalidFile(N_("The file is damaged: it has NUL characters, so it is no text"), next_step=AGAIN)
    return read(content, wanted)


def _content(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise not_a_file(path)
        if not about.st_size:
            raise InvalidFile(N_("The file is empty (0 bytes)"), next_step=AGAIN)
        if about.st_size > _MOST:
            raise InvalidFile(N_("The file has more than %(most)s bytes", most=f"{_MOST:,}"), next_step=AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise cannot_open(path, error) from None
