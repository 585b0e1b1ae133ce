"""Signatures that were altered or made up: none but the sender's own is taken for valid."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procomp_pay.domain.errors import BadSignature
from procomp_pay.providers.kaspi import gateway_signature
from procomp_pay.providers.stripe import webhook_signature
from tests.support.hostile import damaged, many, texts
from tests.support.http_requests import digest, sign

_SECRET, _BODY = "whsec_of_this_test", b'{"id": "evt_1"}'
_NOW = datetime.now(UTC)
#: As aiohttp decodes the bytes of a header.
_headers = st.one_of(
    texts,
    damaged(sign(_BODY, _SECRET).encode()).map(lambda header: header.decode("utf-8", "surrogateescape")),
)


@many
@given(_headers)
@example(f"t={_NOW.timestamp():.0f},v1=\udcff")
def test_stripes_signature(header: str) -> None:
    try:
        webhook_signature.check(_BODY, header, [_SECRET, "whsec_another"], _NOW)
    except BadSignature:
        return
    at = next(part[2:] for part in header.split(",") if part.startswith("t="))
    assert abs(int(at) - _NOW.timestamp()) <= webhook_signature.TOLERANCE_S
    assert digest(_BODY, _SECRET, int(at)) in header


@many
@given(damaged(_BODY))
def test_stripes_signature_of_another_body(body: bytes) -> None:
    if body != _BODY:
        with pytest.raises(BadSignature):
            webhook_signature.check(body, sign(_BODY, _SECRET), [_SECRET], _NOW)


_GATEWAYS = "sha256=" + gateway_signature.digest(_SECRET, _BODY)


@many
@given(
    st.one_of(st.just([_GATEWAYS]), st.lists(st.one_of(texts, st.just(_GATEWAYS)), max_size=2)),
    st.one_of(texts.map(lambda time: [time]), st.lists(texts, max_size=2)),
)
@example([_GATEWAYS], ["\udcff"])
def test_a_gateways_signature(signatures: list[str], times: list[str]) -> None:
    try:
        gateway_signature.check(_BODY, signatures, times, _SECRET, _NOW)
    except BadSignature:
        return
    assert signatures == [_GATEWAYS]
