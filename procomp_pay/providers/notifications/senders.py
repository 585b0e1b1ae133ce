"""Create the senders of notifications from the settings. Nothing is imported or connected before its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.config import ProviderMode, Settings, delivery
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.language import Language

if TYPE_CHECKING:
    from procomp_pay.providers.notifications.http_hooks import ChatHook, SignedHook
    from procomp_pay.providers.notifications.smtp import Mailer

#: The setting that enables a destination.
NEEDS = {
    Destination.PARTICIPANT_MAIL: "SMTP_URL",
    Destination.PLATFORM_WEBHOOK: "PLATFORM_WEBHOOK_URL",
    Destination.ALERT_WEBHOOK: "ALERT_WEBHOOK_URL",
    Destination.ALERT_MAIL: "ALERT_MAIL_TO",
}


class NotificationSenders:
    """The senders of all destinations.

    :param settings: ``None`` if no destination is configured.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._mailer: Mailer | None = None
        self._platform: SignedHook | None = None
        self._chat: ChatHook | None = None

    @property
    def language(self) -> Language:
        """Return the default language of e-mails."""
        return self._settings.mail_language if self._settings else Language.RUSSIAN

    def check_letters(self) -> None:
        """
        :raises ConfigurationError: no letters to participants are sent.
        """
        if not self.recipients(Destination.PARTICIPANT_MAIL):
            raise ConfigurationError(
                "No letters are sent: SMTP_URL and MAIL_FROM are not set", next_step="set both"
            )

    def mode(self, *, kaspi: bool) -> ProviderMode:
        """Return whether real money moves at a provider."""
        if self._settings is None:
            return ProviderMode.OFF
        return self._settings.kaspi_mode if kaspi else self._settings.stripe_mode

    def recipients(self, destination: Destination) -> tuple[str, ...]:
        """Return the addresses of a destination: none if not configured, ``""`` if it needs no address."""
        settings = self._settings
        if settings is None:
            return ()
        if destination is Destination.ALERT_MAIL:
            return (
                delivery.addresses("ALERT_MAIL_TO", settings.alert_mail_to) if settings.alert_mail_to else ()
            )
        value = {
            Destination.PARTICIPANT_MAIL: settings.smtp_url,
            Destination.PLATFORM_WEBHOOK: settings.platform_webhook_url,
            Destination.ALERT_WEBHOOK: settings.alert_webhook_url,
        }[destination]
        return ("",) if value is not None else ()

    def unconfigured(self) -> tuple[Destination, ...]:
        """Return the destinations that are not configured."""
        return tuple(destination for destination in Destination if not self.recipients(destination))

    def mailer(self) -> Mailer:
        """Return the sender of e-mails.

        :raises ConfigurationError: no mail server is configured.
        """
        if self._mailer is None:
            settings = self._settings
            if settings is None or settings.smtp_url is None or settings.mail_from is None:
                raise _missing(Destination.PARTICIPANT_MAIL)
            from procomp_pay.providers.notifications.smtp import Mailer

            server = delivery.mail_server(settings.smtp_url.get_secret_value())
            self._mailer = Mailer(server, delivery.sender(settings.mail_from))
        return self._mailer

    def platform(self) -> SignedHook:
        """Return the sender to the platform's webhook.

        :raises ConfigurationError: it is not configured.
        """
        if self._platform is None:
            settings = self._settings
            if (
                settings is None
                or settings.platform_webhook_url is None
                or settings.platform_webhook_secret is None
            ):
                raise _missing(Destination.PLATFORM_WEBHOOK)
            from procomp_pay.providers.notifications.http_hooks import Hook, SignedHook

            secrets = delivery.hook_secrets(
                "PLATFORM_WEBHOOK_SECRET", settings.platform_webhook_secret.get_secret_value()
            )
            self._platform = SignedHook(Hook(settings.platform_webhook_url), secrets)
        return self._platform

    def chat(self) -> ChatHook:
        """Return the sender to the operators' chat.

        :raises ConfigurationError: no chat is configured.
        """
        if self._chat is None:
            settings = self._settings
            if settings is None or settings.alert_webhook_url is None:
                raise _missing(Destination.ALERT_WEBHOOK)
            from procomp_pay.providers.notifications.http_hooks import ChatHook, Hook

            self._chat = ChatHook(Hook(settings.alert_webhook_url.get_secret_value()))
        return self._chat

    async def aclose(self) -> None:
        """Close the open connections."""
        for hook in (self._platform, self._chat):
            if hook is not None:
                await hook.aclose()


def _missing(destination: Destination) -> ConfigurationError:
    name = NEEDS[destination]
    return ConfigurationError(f"{name} is not set", next_step=f"set {name}")
