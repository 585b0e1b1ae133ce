"""The application context that is passed to every service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from procomp_pay.domain.events import Clock, IdMaker, Source
from procomp_pay.domain.operators import Credentials, Limits, Operator
from procomp_pay.domain.retention import Retention
from procomp_pay.domain.states import Channel
from procomp_pay.providers.notifications.senders import NotificationSenders
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring
from procomp_pay.storage.webhooks.intake import WebhookIntake


class Providers(Protocol):
    """Return the provider of a channel, created at first use."""

    def of(self, channel: Channel) -> PaymentProvider:
        """Return the provider.

        :raises ConfigurationError: it is not configured.
        """

    @property
    def stripe_mode(self) -> ProviderMode:
        """The mode of the Stripe key; events of another mode are not ours."""

    @property
    def circuits(self) -> Sequence[Circuit]:
        """The circuit breakers of the providers that were used in this process."""

    def certificate(self, now: datetime) -> CertificateLife | None:
        """Return the validity of the client certificate for Kaspi; ``None`` if there is none.

        :raises ConfigurationError: its file cannot be read.
        """


if TYPE_CHECKING:
    from procomp_pay.config import ProviderMode
    from procomp_pay.providers.kaspi.tls import CertificateLife
    from procomp_pay.providers.protocol import PaymentProvider
    from procomp_pay.providers.resilience.circuit_breaker import Circuit
    from procomp_pay.storage.audit.chain import AuditRecord


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor: an operator at a terminal, a user of the app, or the system itself."""

    name: str
    source: Source
    request_id: str | None = None
    #: The second operator, who approved what one must not do alone.
    approved_by: str | None = None

    def record(
        self,
        action: str,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        source_id: str | None = None,
        note: str | None = None,
    ) -> AuditRecord:
        """Return the audit record of what the actor does."""
        from procomp_pay.storage.audit.chain import AuditRecord  # declares a table

        return AuditRecord(self.name, self.source, action, before, after, source_id, self.request_id, note)

    def approval(self) -> dict[str, str]:
        """Return the second operator for an audit entry; empty where there is none."""
        return {} if self.approved_by is None else {"approved_by": self.approved_by}

    @property
    def scope(self) -> str:
        """The scope of the actor's idempotency keys."""
        return f"{self.source}:{self.name}"


SYSTEM = Actor("procomp-pay", Source.CLOCK)


@dataclass(frozen=True, slots=True)
class AppContext:
    """Database, providers, keys, clock and id maker. The clock is a parameter, so that tests are exact.

    :param base_url: where the server is reached, for links.
    :param is_public: phones reach it too: ``PUBLIC_BASE_URL`` is set.
    :param intake: stores incoming webhook events, several in one commit; one per process.
    :param senders: the channels for notifications to people and to the platform.
    :param retention: how long finished rows are kept.
    :param operator: who is logged in at the terminal; ``None`` in the server, and where there are no
        operators.
    :param credentials: by what they are logged in; checked again where it matters. ``None`` in the server.
    :param limits: the sums above which more is asked of operators.
    """

    db: PaymentDatabaseService
    providers: Providers
    keyring: Keyring
    clock: Clock
    new_id: IdMaker
    base_url: str
    intake: WebhookIntake
    senders: NotificationSenders = field(default_factory=NotificationSenders)
    is_public: bool = False
    retention: Retention = field(default_factory=Retention)
    operator: Operator | None = None
    credentials: Credentials | None = None
    limits: Limits = field(default_factory=Limits)
