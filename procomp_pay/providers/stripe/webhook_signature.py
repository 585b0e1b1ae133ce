"""Check Stripe's signature of a webhook: https://docs.stripe.com/webhooks#verify-manually

The SDK's own check needs the body as text and takes twice as long; the scheme is four lines.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime

from procomp_pay.domain.errors import BadSignature

#: Allowed difference between the signature's time and ours, in seconds, in either direction.
TOLERANCE_S = 300
_LONGEST_STAMP = 12


def check(body: bytes, header: str, secrets: Sequence[str], now: datetime) -> None:
    """Check the raw body against ``Stripe-Signature`` with each of the secrets.

    A time far in the future is rejected like an old one: otherwise the signature could be replayed for long.

    :raises BadSignature: the signature is missing, wrong or stale, or the body was altered.
    """
    if not header.isascii():
        raise BadSignature("The webhook's signature is wrong")
    parts = [part.partition("=") for part in header.split(",")]
    stamp = next((value for name, _, value in parts if name == "t"), "")
    if not stamp.isdigit() or len(stamp) > _LONGEST_STAMP or abs(now.timestamp() - int(stamp)) > TOLERANCE_S:
        raise BadSignature("The webhook's signature is too old, or its time differs from ours")
    signed = b"%b.%b" % (stamp.encode(), body)
    signatures = [value for name, _, value in parts if name == "v1"]
    for secret in secrets:
        expected = hmac.digest(secret.encode(), signed, "sha256").hex()
        if any(hmac.compare_digest(expected, signature) for signature in signatures):
            return
    raise BadSignature("The webhook's signature is wrong")
