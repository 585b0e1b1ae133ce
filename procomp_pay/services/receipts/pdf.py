"""A receipt as a PDF of one A5 page, with the letters of Kazakh and Russian in it."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from procomp_pay.services.receipts.receipt import Receipt, disclaimer, heading, rows
from procomp_pay.translations import Translation

if TYPE_CHECKING:
    from fpdf import FPDF

#: Millimetres: an A5 page, its margins, and the column of the labels.
_PAGE = (148.0, 210.0)
_MARGIN = 14.0
_LABELS = 46.0
_GREY = (91, 98, 110)


def receipt_pdf(
    translation: Translation, receipt: Receipt, *, is_public: bool = False, mark: str = ""
) -> bytes:
    """Return the PDF.

    :param is_public: as for :func:`rows`.
    :param mark: printed above all, while no real money moves.
    """
    from fpdf import FPDF

    pdf = FPDF(format=_PAGE)
    pdf.set_margin(_MARGIN)
    pdf.set_title(heading(translation))
    pdf.set_lang(translation.language)
    pdf.set_creation_date(receipt.view.updated_at)
    with as_file(files("fontpkg_noto_sans") / "files" / "NotoSans[wdth,wght].ttf") as font:
        pdf.add_font("Noto", fname=font)
    pdf.add_page()
    _line(pdf, f"ProComp {mark}".strip(), 10, _GREY)
    _line(pdf, heading(translation), 20)
    _line(pdf, translation.money(receipt.view.charged), 26)
    pdf.ln(4)
    for label, value in rows(translation, receipt, is_public=is_public):
        _row(pdf, label, value)
    pdf.ln(6)
    _line(pdf, disclaimer(translation), 10, _GREY)
    return bytes(pdf.output())


def _line(pdf: FPDF, text: str, size: int, colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    pdf.set_font("Noto", size=size)
    pdf.set_text_color(*colour)
    pdf.multi_cell(0, size * 0.55, text, new_x="LMARGIN", new_y="NEXT")


def _row(pdf: FPDF, label: str, value: str) -> None:
    """Print a label and its value side by side, below a thin line; each may take several lines."""
    pdf.set_font("Noto", size=10)
    pdf.set_draw_color(217, 220, 225)
    pdf.line(_MARGIN, pdf.get_y() + 0.5, _PAGE[0] - _MARGIN, pdf.get_y() + 0.5)
    top = pdf.get_y() + 1.5
    pdf.set_y(top)
    pdf.set_text_color(*_GREY)
    pdf.multi_cell(_LABELS, 5, label, align="L", new_x="LMARGIN", new_y="NEXT")
    below_label = pdf.get_y()
    pdf.set_xy(_MARGIN + _LABELS + 2, top)
    pdf.set_text_color(0, 0, 0)
    pdf.multi_cell(0, 5, value, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.set_y(max(below_label, pdf.get_y()) + 1)
