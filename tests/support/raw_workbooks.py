"""Workbooks written part by part, as other programs than ours write them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

TRANSITIONAL = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
)
STRICT = (
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
    "http://purl.oclc.org/ooxml/officeDocument/relationships",
)
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
#: Style 1 is a day, style 2 a duration. The fills are empty, as some libraries write them.
STYLES = (
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="dd\\.mm\\.yyyy"/></numFmts>'
    '<fills count="2"><fill/><fill/></fills>'
    '<cellStyleXfs count="1"><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="46"/></cellXfs>'
)


class Xml(str):
    """A cell as it is written: ``<c t="b"><v>1</v></c>``."""

    __slots__ = ()


Rows = Sequence[Sequence[str | float | None]]


def raw_workbook(
    sheets: Mapping[str, Rows],
    *,
    namespaces: tuple[str, str] = TRANSITIONAL,
    states: Mapping[str, str] | None = None,
    spelling: Callable[[str], str] = lambda name: name,
    inline: bool = False,
    more: Mapping[str, str] | None = None,
) -> bytes:
    """Return a workbook.

    :param states: of the sheets that are not visible: ``hidden`` or ``veryHidden``.
    :param spelling: changes the names of the parts in the archive, not where they are referred to.
    :param inline: texts are in their cells and not in the shared ones.
    :param more: parts to add or to replace.
    """
    main, relationships = namespaces
    texts: list[str] = []
    parts: dict[str, str] = {}
    for number, rows in enumerate(sheets.values(), 1):
        lines = "".join(
            f"<row>{''.join(_cell(cell, texts, inline=inline) for cell in row)}</row>" for row in rows
        )
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
        )
    listed = "".join(
        f'<sheet name="{title}" sheetId="{number}" state="{(states or {}).get(title, "visible")}" '
        f'r:id="r{number}"/>'
        for number, title in enumerate(sheets, 1)
    )
    links = "".join(_link(f"r{n}", f"{relationships}/worksheet", f"worksheets/sheet{n}.xml")
                    for n in range(1, len(sheets) + 1))  # fmt: skip
    links += _link("s", f"{relationships}/styles", "styles.xml")
    links += _link("t", f"{relationships}/sharedStrings", "sharedStrings.xml")
    parts |= {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": _links(_link("w", f"{relationships}/officeDocument", "/xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": _links(links),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relationships}"><sheets>{listed}</sheets>'
        "</workbook>",
        "xl/styles.xml": f'<styleSheet xmlns="{main}">{STYLES}</styleSheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{main}">{"".join(f"<si>{text}</si>" for text in texts)}</sst>',
    } | dict(more or {})  # fmt: skip
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(spelling(name), content)
    return out.getvalue()


def _cell(value: str | float | None, texts: list[str], *, inline: bool) -> str:
    if isinstance(value, Xml):
        return str(value)
    if value is None:
        return "<c/>"
    if not isinstance(value, str):
        return f"<c><v>{value}</v></c>"
    text = f"<t>{escape(value)}</t>"
    if inline:
        return f'<c t="inlineStr"><is>{text}</is></c>'
    texts.append(text)
    return f'<c t="s"><v>{len(texts) - 1}</v></c>'


def _link(name: str, kind: str, target: str) -> str:
    return f'<Relationship Id="{name}" Type="{kind}" Target="{target}"/>'


def _links(links: str) -> str:
    return f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>'
