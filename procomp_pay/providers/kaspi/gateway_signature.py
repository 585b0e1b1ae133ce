"""Check a gateway's signature of a callback, and its time, where the gateway sends one."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from procomp_pay.domain.errors import BadSignature

#: Headers in which gateways send the signature and, some of them, its time.
SIGNATURE_HEADERS = ("X-Webhook-Signature", "X-Qutpay-Signature", "X-Kaspi-Signature", "X-Signature")
TIME_HEADERS = ("X-Webhook-Timestamp", "X-Qutpay-Timestamp", "X-Kaspi-Timestamp", "X-Timestamp")
#: Allowed difference between a callback's time and ours, in seconds, in either direction.
TOLERANCE_S = 300
_HEX = re.compile(r"[0-9a-fA-F]{64}")


def check(
    body: bytes, signatures: Sequence[str], times: Sequence[str], secret: str | None, now: datetime
) -> None:
    """Check the raw body against the values of ``SIGNATURE_HEADERS`` and ``TIME_HEADERS``.

    :raises BadSignature: the signature is missing, repeated or wrong, or the time is too far off.
    """
    if not secret:
        raise BadSignature("No secret for callbacks is configured")
    if len(signatures) != 1 or len(times) > 1:
        raise BadSignature("The callback has no signature, or more than one")
    signature = signatures[0].strip()
    signature = signature[7:] if signature[:7].lower() == "sha256=" else signature
    if not _HEX.fullmatch(signature):
        raise BadSignature("The callback's signature is wrong")
    signed_texts = [body, f"{times[0].strip()}.".encode("utf-8", "replace") + body] if times else [body]
    matches = [hmac.compare_digest(digest(secret, signed), signature.lower()) for signed in signed_texts]
    if not any(matches):
        raise BadSignature("The callback's signature is wrong")
    if times and abs(_parse_time(times[0]) - now) > timedelta(seconds=TOLERANCE_S):
        raise BadSignature("The callback is too old, or the sender's clock is wrong")


def digest(secret: str, body: bytes) -> str:
    """Return the signature of a body: HMAC-SHA256 in hexadecimal digits."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _parse_time(text: str) -> datetime:
    """Parse Unix seconds, Unix milliseconds or an ISO 8601 time with a zone.

    :raises BadSignature: it is none of these.
    """
    text = text.strip()
    try:
        if text.isascii() and text.isdigit() and len(text) <= 13:
            seconds = int(text)
            return datetime.fromtimestamp(seconds / 1000 if len(text) > 11 else seconds, UTC)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise BadSignature("The callback's time cannot be read")
