"""The sandbox's HTML: plain pages with nothing from outside, every value escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from aiohttp import web

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f3f4f6;color:#111827}
.banner{background:#b91c1c;color:#fff;text-align:center;font-weight:700;letter-spacing:.2em;padding:.8rem}
main{max-width:26rem;margin:1.5rem auto;background:#fff;border-radius:12px;padding:1.5rem;
box-shadow:0 2px 12px #0002}
.amount{font-size:2rem;font-weight:700;margin:.3rem 0 1rem}
button{display:block;width:100%;min-height:3rem;margin:.6rem 0;border:1px solid #111827;border-radius:8px;
font-size:1.1rem;background:#111827;color:#fff;cursor:pointer}
button.quiet{background:#fff;color:#111827}
.bad{color:#b91c1c;font-weight:600}.good{color:#047857;font-weight:600}
code{word-break:break-all}
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(title: str, body: str, *, status: int = 200) -> web.Response:
    """Return a whole page; `title` is escaped, `body` is HTML made by the functions below."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} - SANDBOX</title><style>{_STYLE}</style></head><body>"
        '<div class="banner">SANDBOX - NO REAL MONEY</div>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text with a CSS class."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>'


def buttons(field: str, choices: Mapping[str, str], quiet: Iterable[str] = ()) -> str:
    """Return a form that posts to its own address, with one button for each value of `field`."""
    plain = set(quiet)
    rows = (
        f'<button name="{escape(field)}" value="{escape(value)}"'
        f"{' class=quiet' if value in plain else ''}>{escape(label)}</button>"
        for value, label in choices.items()
    )
    return f'<form method="post">{"".join(rows)}</form>'


def links(targets: Mapping[str, str]) -> str:
    """Return a list of links, address to label."""
    rows = (f'<li><a href="{escape(href)}">{escape(label)}</a></li>' for href, label in targets.items())
    return f"<ul>{''.join(rows)}</ul>"
