"""Check a caller's access: the request id, the key of the basic scheme, the certificate of the other two."""

from __future__ import annotations

import hmac
import uuid
from typing import Final

from aiohttp import web

from .book import Book
from .codes import NO_CERTIFICATE, KaspiError, MalformedRequestError

CERTIFICATE_HEADER: Final = "X-Sandbox-Client-Cert"


def check_request_id(request: web.Request) -> None:
    """Check that X-Request-ID is a GUID, with or without dashes. Raises MalformedRequestError.

    It is a correlation id and nothing else: the same one twice does the work twice.
    """
    try:
        uuid.UUID(request.headers.get("X-Request-ID", ""))
    except ValueError as error:
        raise MalformedRequestError("The header X-Request-ID is required and must be a GUID") from error


def check_access(request: web.Request, scheme: str, book: Book) -> None:
    """Let the caller in or raise KaspiError -10000.

    The document has no code of its own for a wrong Api-Key, and -10000 is the only code of access that it
    lists for the basic scheme. The switch `api_key_refusal` = `http401` sends the same with HTTP 401.
    """
    if scheme != "r1":
        if book.settings.require_client_cert and not _has_client_certificate(request):
            raise KaspiError(NO_CERTIFICATE)
        return
    given = request.headers.get("Api-Key", "")
    if not hmac.compare_digest(given.encode(), book.api_key.encode()):
        status = 401 if book.settings.api_key_refusal == "http401" else 200
        raise KaspiError(NO_CERTIFICATE, "Неверный или отсутствующий Api-Key", http_status=status)


def _has_client_certificate(request: web.Request) -> bool:
    """Return whether the client has a certificate: by TLS if the connection is TLS, else by a header."""
    if request.get_extra_info("ssl_object") is not None:
        return bool(request.get_extra_info("peercert"))
    return request.headers.get(CERTIFICATE_HEADER) == "present"
