"""What every use case needs, in one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from procomp_pay.domain.events import Clock, IdMaker, Source
from procomp_pay.domain.states import Channel
from procomp_pay.providers.notifications.senders import NotificationSenders
from procomp_pay.providers.protocol import PaymentProvider
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring


class Providers(Protocol):
    """Gives the provider behind a channel, made at first use."""

    def of(self, channel: Channel) -> PaymentProvider:
        """
        :raises ConfigurationError: it is not configured.
        """

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Those of the providers that were used in this process."""

    def certificate(self, now: datetime) -> CertificateLife | None:
        """How long the client certificate towards Kaspi still holds; ``None`` where there is none.

        :raises ConfigurationError: its file cannot be read.
        """


if TYPE_CHECKING:
    from procomp_pay.providers.kaspi.tls import CertificateLife
    from procomp_pay.providers.resilience.circuit_breaker import Circuit


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a clerk at a terminal, a user of the app, or the system itself.

    :param scope: whose idempotency keys are whose.
    """

    name: str
    source: Source
    request_id: str | None = None

    @property
    def scope(self) -> str:
        return f"{self.source}:{self.name}"


SYSTEM = Actor("procomp-pay", Source.CLOCK)


@dataclass(frozen=True, slots=True)
class AppContext:
    """Database, providers, keys, clock and ids. Time and ids come in, so that a test or a replay is exact.

    :param post: the ways by which people and the platform are told.
    """

    db: PaymentDatabaseService
    providers: Providers
    keyring: Keyring
    clock: Clock
    new_id: IdMaker
    base_url: str
    senders: NotificationSenders = field(default_factory=NotificationSenders)
