"""A provider's document as a person may see it: ids, amounts and states, nobody's name, address or secret."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"

#: Keys whose values are a secret or somebody's, whatever they look like.
_KEYS = re.compile(
    r"secret|password|token|fingerprint|authorization|e_?mail|phone|address|(^|_)ip($|_)|(^|_)name$|^tax_id"
    r"|^(last4|exp_month|exp_year|iin|bin|cvc|number|dynamic_last4|network_transaction_id)$"
    r"|^(description|customer_details|billing_details|shipping|receipt_url|hosted_invoice_url)$",
    re.IGNORECASE,
)
#: What is one by its shape, wherever it stands: keys, client secrets, tokens, addresses, telephone numbers,
#: card numbers.
_SHAPES = re.compile(
    r"\b[sr]k_(?:live|test)_\w+|\bwhsec_\w+|\b\w+_secret_\w+|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|(?<![\w-])\+?\d(?:[ -]?\d){10,18}(?![\w-])"
    r"|(?<!\w)\+\d[\d ()-]{7,}\d"
)
#: Values that say nothing of anybody.
_EMPTY: tuple[Any, ...] = (None, "", True, False)


def redacted(document: Any) -> Any:
    """A copy with everything secret or personal hidden, by key and by shape."""
    if isinstance(document, dict):
        return {key: _value(str(key), value) for key, value in document.items()}
    if isinstance(document, list):
        return [redacted(each) for each in document]
    return _SHAPES.sub(HIDDEN, document) if isinstance(document, str) else document


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list | dict) and not value:
        return value
    if _KEYS.search(key) and not any(value is each for each in _EMPTY):
        return HIDDEN
    return redacted(value)
