"""Show a closing in the terminal, and write its sheet as HTML and XLSX."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from procomp_pay.cli.closing import tables
from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports import files, html_page, spreadsheet
from procomp_pay.cli.reports.cells import as_text, to_the_second
from procomp_pay.cli.reports.html_page import Page
from procomp_pay.domain.closing import Step

if TYPE_CHECKING:
    from procomp_pay.services.closing.closing import Closing


def title(closing: Closing) -> str:
    """Return whose closing it is."""
    return closing.tournament[1] if closing.tournament else _("All tournaments")


def conclusion(closing: Closing, *, for_paper: bool = False) -> str:
    """Return in a line whether it is closed, and what is open.

    :param for_paper: without the sheet and the seal, which follow when it is written.
    """
    if closing.is_closed:
        names = ", ".join(signature.name for signature in closing.signatures)
        text = _("Closed, signed by %(names)s", names=console.clean(names))
        return text if not closing.second_is_missing else text + "; " + _("the second signature is missing")
    follow = {Step.SIGNATURES, Step.SHEET, Step.SEAL} if for_paper else {Step.SIGNATURES}
    left = [_(tables.STEPS[step]) for step in closing.open if step not in follow]
    if not left:
        return _("Nothing is open: to be signed")
    return _("Still open:") + " " + ", ".join(left)


def show(closing: Closing) -> None:
    """Show it in the terminal."""
    from procomp_pay.cli.reports import terminal

    terminal.show(title(closing), day(closing), tables.sections(closing))
    console.say("\n" + conclusion(closing), fg="green" if closing.is_closed else "yellow", bold=True)


def day(closing: Closing) -> str:
    """Return the day in the reader's form."""
    return as_text(closing.day)


def write(closing: Closing, folder: Path) -> list[str]:
    """Write the sheet as HTML and XLSX; return the names of the files. An older one is replaced as a whole.

    :raises Refused: a file cannot be written.
    """
    files.private_folder(folder)
    name = f"closing-{closing.day.isoformat()}"
    name += f"-{closing.tournament[0]}" if closing.tournament else ""
    written = []
    for kind in ("html", "xlsx"):
        path = folder / f"{name}.{kind}"
        files.write(str(path), partial(_fill, closing, kind), force=True)
        written.append(str(path))
    return written


def _fill(closing: Closing, kind: str, stream: IO[bytes]) -> None:
    at = closing.figures.as_of if closing.figures is not None else closing.begun_at
    sections = tables.sections(closing, for_paper=True)
    as_of = f"{to_the_second(at, closing.period.zone)} {closing.period.zone.key}"
    if kind == "xlsx":
        properties = [
            (_("Closing sheet"), title(closing)),
            (_("Day"), day(closing)),
            (_("As of"), as_of),
            ("", conclusion(closing, for_paper=True)),
            (_("Audit seal"), _seal(closing)),
            ("", ""),
            (_("Closed by"), _signer(closing, 0)),
            ("", ""),
            (_("Checked by"), _signer(closing, 1)),
        ]
        spreadsheet.write_workbook(stream, properties, sections, at)
        return
    name = _("Closing sheet: %(name)s", name=title(closing))
    html_page.write(
        stream,
        Page(
            title=name,
            subtitle=day(closing),
            lines=[_("As of %(time)s", time=as_of)],
            sections=sections,
            footer=f"{name}, {day(closing)}",
            sheet=True,
            conclusion=conclusion(closing, for_paper=True),
            seal=_seal(closing),
        ),
    )


def _seal(closing: Closing) -> str:
    root = closing.steps[Step.SEAL].facts.get("root")
    return str(root) if root else _("not sealed (procomp-pay audit seal)")


def _signer(closing: Closing, number: int) -> str:
    return closing.signatures[number].name if number < len(closing.signatures) else "." * 60
