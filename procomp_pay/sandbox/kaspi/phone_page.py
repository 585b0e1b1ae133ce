"""The HTML of the phone. No script and nothing from outside; every value is escaped."""

from __future__ import annotations

from html import escape

from .model import CREATED, METHODS, PROCESSED, REMOTE, REMOTE_CREATED, WAIT, Payment, ReturnQr

STYLE = """
body{margin:0;font:17px/1.4 system-ui,sans-serif;background:#f2f2f4;color:#222}
.banner{background:#b00020;color:#fff;text-align:center;font-weight:700;font-size:26px;letter-spacing:.2em;
padding:12px}
.banner small{display:block;font-size:13px;letter-spacing:0;font-weight:400}
main{max-width:380px;margin:20px auto;background:#fff;border-radius:16px;padding:24px}
.sum{font-size:38px;font-weight:700;margin:8px 0}
.note{background:#fff3cd;padding:10px;border-radius:8px}
dl{display:grid;grid-template-columns:auto 1fr;gap:4px 14px}
dd{margin:0;text-align:right;overflow-wrap:anywhere}
button,select{width:100%;padding:13px;margin-top:10px;border-radius:10px;border:1px solid #bbb;font:inherit}
button.main{background:#f14635;border-color:#f14635;color:#fff;font-weight:700}
"""


def _page(title: str, inner: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>SANDBOX: {escape(title)}</title><style>{STYLE}</style></head><body>"
        '<div class="banner">SANDBOX<small>A pretended phone. No real money moves here.</small></div>'
        f"<main>{inner}</main></body></html>"
    )


def _note(note: str | None) -> str:
    return f'<p class="note" role="alert">{escape(note)}</p>' if note else ""


def _button(action: str, label: str, *, main: bool = False) -> str:
    css = ' class="main"' if main else ""
    return f'<button name="action" value="{escape(action)}"{css}>{escape(label)}</button>'


def _form(token: str, inner: str) -> str:
    return f'<form method="post" action="/pay/{escape(token)}">{inner}</form>' if inner else ""


def _table(pairs: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in pairs) + "</dl>"


def _methods(chosen: str) -> str:
    options = "".join(
        f"<option{' selected' if method == chosen else ''}>{escape(method)}</option>" for method in METHODS
    )
    return f'<label>Pay with<select name="product">{options}</select></label>'


def _buttons(payment: Payment, now: float) -> str:
    if payment.status == CREATED and now < payment.open_until:
        return (
            _methods(payment.product_type)
            + _button("pay", "Pay now (scan and confirm)", main=True)
            + _button("scan", "Scan only")
            + _button("cancel", "Cancel")
        )
    if payment.status in (WAIT, REMOTE_CREATED):
        return (
            _methods(payment.product_type)
            + _button("confirm", "Confirm payment", main=True)
            + _button("cancel", "Cancel")
        )
    return ""


def _sentence(payment: Payment, now: float) -> str:
    if payment.status == PROCESSED:
        return "Paid"
    if payment.status == CREATED:
        left = payment.open_until - now
        return f"Scan within {left:.0f} s" if left > 0 else "This QR has expired"
    if payment.status == WAIT and payment.confirm_until is not None:
        return f"Confirm within {payment.confirm_until - now:.0f} s"
    if payment.status == REMOTE_CREATED:
        return "Invoice waiting for you"
    return "Not paid"


def payment_page(payment: Payment, store: str, now: float, note: str | None = None) -> str:
    """Return the purchase as the buyer sees it, with the buttons that its state allows."""
    pairs = [("Shop", store), ("Status", payment.status), ("Purchase", str(payment.payment_id))]
    if payment.kind == REMOTE:
        pairs += [("Phone", payment.buyer), ("Comment", payment.comment or "")]
    if payment.operation_number:
        pairs.append(("Receipt", f"QR{payment.operation_number}"))
    refunded = payment.amount - payment.available
    if payment.status == PROCESSED and refunded > 0:
        pairs.append(("Returned", f"{refunded} ₸"))
    inner = (
        f"{_note(note)}<h1>{escape(_sentence(payment, now))}</h1>"
        f'<p class="sum">{payment.amount} ₸</p>{_table(pairs)}{_form(payment.token, _buttons(payment, now))}'
    )
    return _page("payment", inner)


def return_page(item: ReturnQr, note: str | None = None) -> str:
    """Return the page of a return QR, with which the buyer is identified."""
    buttons = ""
    if item.status == CREATED:
        buttons = _button("scan", "Scan for the return", main=True) + _button("cancel", "Cancel")
    pairs = [("Status", item.status), ("Return", str(item.return_id))]
    return _page(
        "return", f"{_note(note)}<h1>Return of money</h1>{_table(pairs)}{_form(item.token, buttons)}"
    )


def missing_page() -> str:
    """Return the answer to an unknown token."""
    return _page("not found", "<h1>No such QR or link</h1>")
