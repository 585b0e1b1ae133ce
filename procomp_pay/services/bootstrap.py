"""Create the application context from the settings, for ``cli`` and ``server``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.providers.notifications.senders import NotificationSenders
from procomp_pay.providers.registry import ProviderRegistry
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, key_file_ring
from procomp_pay.storage.webhooks.intake import WebhookIntake

#: Maps a random byte to a character of a-z and 0-9.
_BASE_36 = bytes(b"0123456789abcdefghijklmnopqrstuvwxyz"[byte % 36] for byte in range(256))


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Return a new id of 25 characters that starts with ``c``, as checks for Prisma's ``cuid()`` expect."""
    return "c" + os.urandom(24).translate(_BASE_36).decode("ascii")


def keyring_for(settings: Settings) -> Keyring:
    """Return the keys for encrypted columns: ``ENCRYPTION_KEYS``, or a 0600 file of the embedded database.

    :raises ConfigurationError: PostgreSQL without ``ENCRYPTION_KEYS``, or an invalid key.
    """
    if settings.encryption_keys is not None:
        keys = [k.strip() for k in settings.encryption_keys.get_secret_value().split(",") if k.strip()]
        return Keyring(keys)
    if not settings.is_embedded:
        raise ConfigurationError(
            "ENCRYPTION_KEYS is not set; it is required with PostgreSQL, to encrypt sensitive columns",
            next_step="load the settings of the server; for a new database: procomp-pay keys new",
        )
    return key_file_ring(key_file(settings))


def key_file(settings: Settings) -> Path:
    """Return the path of the key file of the embedded database."""
    return settings.home / "procomp-pay.key"


@asynccontextmanager
async def open_context(settings: Settings, *, serving: bool = False) -> AsyncIterator[AppContext]:
    """Open the configured database and providers, and close them at the end.

    :param serving: clients wait for answers: see :class:`PaymentDatabaseService`.
    """
    providers, post = ProviderRegistry(settings), NotificationSenders(settings)
    db = PaymentDatabaseService(settings.url, serving=serving)
    try:
        yield AppContext(
            db=db,
            providers=providers,
            keyring=keyring_for(settings),
            clock=utc_now,
            new_id=new_id,
            base_url=settings.base_url,
            intake=WebhookIntake(db),
            senders=post,
            is_public=settings.public_base_url is not None,
            retention=settings.retention,
            limits=settings.limits,
        )
    finally:
        await post.aclose()
        await providers.aclose()
        await db.dispose()
