"""Alerts in words: what happened, to whose payment, and the command to type next. In English."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from procomp_pay.config.delivery import one_line
from procomp_pay.domain.money import Money
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.storage.webhooks import inbox as queues

if TYPE_CHECKING:
    from procomp_pay.providers.notifications.smtp import Email
    from procomp_pay.services.views.payment import PaymentView

_ALMATY = ZoneInfo("Asia/Almaty")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Alert:
    """:param commands: what to type next, the first one first."""

    title: str
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def as_chat(self, mark: str = "") -> str:
        """Slack's mrkdwn; what comes from outside cannot mention anybody, link, or format."""
        parts = [f"*{_escaped(mark + self.title)}*", *(_escaped(line) for line in self.lines)]
        return "\n".join([*parts, *(f"`{_escaped(command)}`" for command in self.commands)])

    def as_email(self, mark: str, key: str, to: str, at: datetime) -> Email:
        """A plain letter to the people who look after the desk."""
        from procomp_pay.providers.notifications.smtp import Email

        steps = [f"  {command}" for command in self.commands]
        text = "\n".join([*self.lines, *(["", "What to do next:", *steps] if steps else []), ""])
        return Email(key, to, f"{mark}{self.title}", text, None, "en", at)


def _escaped(text: str) -> str:
    """Slack's three characters, and those that would format."""
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("*", "∗"), ("`", "ˋ")):
        text = text.replace(sign, instead)
    return text


def compose(topic: str, payload: Mapping[str, Any], view: PaymentView | None) -> Alert:
    """The alert for a message; one that is unknown is told, too.

    :param view: the payment that it is about, as it stands now.
    """
    make = _MAKERS.get(topic)
    alert = make(_Known(payload, view)) if make else Alert(f"procomp-pay: {topic}")
    lines = [*(_short(line) for line in alert.lines)]
    if view is not None:
        lines.append(_short(_whose(view)))
    locked = payload.get("held_back")
    if locked:
        lines.append(
            f"The same came {locked} more {'time' if locked == 1 else 'times'} since the last alert."
        )
    return replace(alert, title=_short(alert.title), lines=tuple(lines))


@dataclass(frozen=True, slots=True)
class _Known:
    payload: Mapping[str, Any]
    view: PaymentView | None

    def text(self, name: str) -> str:
        value = self.payload.get(name)
        return str(value) if value is not None else ""

    @property
    def money(self) -> str:
        """The amount that came or went."""
        amount, currency = self.payload.get("amount"), self.payload.get("currency")
        if not isinstance(amount, Decimal | int) or currency is None:
            return "money"
        return str(Money.parse(amount, str(currency)))

    @property
    def payment(self) -> str:
        return self.text("payment_id") or (self.view.payment_id if self.view else "PAYMENT")

    @property
    def who(self) -> str:
        return self.view.participant_name if self.view else "somebody"

    @property
    def history(self) -> str:
        participant = self.text("participant_id") or (
            self.view.participant_id if self.view else "PARTICIPANT"
        )
        return f"procomp-pay history {participant}"

    @property
    def status(self) -> str:
        return f"procomp-pay status --payment {self.payment}"


def _whose(view: PaymentView) -> str:
    place = view.tournament_name + (f", {view.category}" if view.category else "")
    return f"{view.participant_name} · {place} · payment {view.payment_id} is {view.status}, {view.charged}"


def _short(text: str) -> str:
    """One line of text from outside, of bearable length."""
    text = one_line(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _when(text: str) -> str:
    """A stored time on the hall's clock."""
    try:
        local = datetime.fromisoformat(text).astimezone(_ALMATY)
    except ValueError:
        return text
    return f"{local:%a} {local.day} {local:%b} {local:%H:%M} (Almaty)"


def _late(known: _Known) -> Alert:
    return Alert(
        f"Late payment: {known.money} from {known.who}",
        ("It came after the payment had ended. It is taken and kept; a person decides what becomes of it.",),
        (known.history, "procomp-pay discrepancies list"),
    )


def _duplicate(known: _Known) -> Alert:
    return Alert(
        f"Paid twice: {known.money} from {known.who}",
        ("Another payment settles the fee already. This one takes no place: one of the two goes back.",),
        (known.history, f'procomp-pay refund {known.payment} --reason "paid twice"'),
    )


def _amount(known: _Known) -> Alert:
    charged = known.text("asked") or (str(known.view.charged) if known.view else "")
    # the door names the fee itself where the provider's amount could not be read
    came = "one that cannot be read" if known.money == charged else known.money
    return Alert(
        f"Another amount than the fee: {came}" + (f" instead of {charged}" if charged else ""),
        ("The payment is not settled by it and the participant is not paid. A person decides.",),
        (known.status, "procomp-pay discrepancies list"),
    )


def _participant(known: _Known) -> Alert:
    return Alert(
        f"Paid, but the registration is gone: {known.money} from {known.who}",
        ("It was cancelled, removed or moved to another tournament. The money takes no place.",),
        (known.history, f'procomp-pay refund {known.payment} --reason "registration cancelled"'),
    )


def _refund(known: _Known) -> Alert:
    why = known.text("why")
    return Alert(
        f"A refund does not work out: {known.money} to {known.who}",
        (f"The provider says: {why}" if why else "It failed, or does not fit our books.",),
        (known.history, known.status),
    )


_DISPUTE = {
    "open": "is opened: the bank asks the money back",
    "withdrawn": "is opened, and the money was taken back for now",
    "won": "is won: the money stays",
    "lost": "is lost: the money is gone",
}


def _dispute(known: _Known) -> Alert:
    state = known.text("state")
    due = known.text("evidence_until")
    lines = [f"Dispute {known.text('dispute')} over {known.money} {_DISPUTE.get(state, state)}."]
    if due and state in ("open", "withdrawn"):
        lines.append(
            f"Evidence is taken until {_when(due)}: hand it in at Stripe's dashboard, Payments, Disputes."
        )
    return Alert(f"Dispute {state}: {known.money}, {known.who}", tuple(lines), (known.history,))


def _stuck(known: _Known) -> Alert:
    return Alert(
        f"Kaspi does not end a payment: {known.money} from {known.who}",
        (f"Its status there is still {known.text('status')}. It is asked on, and a person should look.",),
        (f"{known.status} --refresh", "procomp-pay discrepancies list"),
    )


def _dead(known: _Known) -> Alert:
    error = known.text("error") or "no reason is known"
    if known.text("destination"):
        way = known.text("destination").replace("_", " ")
        return Alert(
            f"A message could not be delivered by {way}",
            (f"{known.text('topic')}: {error}.",),
            (f"procomp-pay outbox show {known.text('delivery_id')}", "procomp-pay outbox replay --dead"),
        )
    return Alert(
        f"An event was given up: {known.text('type')}",
        (f"Event {known.text('event_id')} could not be handled: {error}.",),
        (f"procomp-pay events show {known.text('event_id')}", "procomp-pay events replay --dead"),
    )


def _discrepancy(known: _Known) -> Alert:
    kind = known.text("kind").replace("_", " ").lower()
    return Alert(
        f"The books do not agree: {kind}",
        ("It stays open until a person decides.",),
        (f"procomp-pay discrepancies show {known.text('discrepancy_id')}", "procomp-pay discrepancies list"),
    )


def _circuit(known: _Known) -> Alert:
    provider = known.text("provider").capitalize() or "A provider"
    return Alert(
        f"{provider} does not answer",
        (f"Its circuit is open: payments by {provider} are refused at once until it answers again.",),
        ("procomp-pay doctor",),
    )


def _stalled(known: _Known) -> Alert:
    return Alert(
        f"Background work stands still: {known.text('work')}",
        (f"The oldest of it has been due since {_when(known.text('since'))}.",),
        ("procomp-pay doctor", "procomp-pay maintain"),
    )


def _status(known: _Known) -> Alert:
    return Alert(
        f"Kaspi says that {known.who} has not paid, a clerk said otherwise",
        (f"{known.text('recorded_by') or 'Somebody'} vouched for it; Kaspi's last word is another.",),
        (f"{known.status} --refresh", "procomp-pay discrepancies list"),
    )


def _unapplied(known: _Known) -> Alert:
    return Alert(
        f"{known.text('provider').capitalize() or 'A provider'} sent money that belongs to no payment",
        (f"It is kept under {known.text('event_id')}; nobody's place was paid by it.",),
        ("procomp-pay discrepancies list", f"procomp-pay events list --provider {known.text('provider')}"),
    )


def _certificate(known: _Known) -> Alert:
    return Alert(
        known.text("why") or "Kaspi's client certificate ends soon",
        ("Without it Kaspi lets nobody pay. Ask the bank for a new one and put it in the files' place.",),
        ("procomp-pay doctor",),
    )


_MAKERS: dict[str, Callable[[_Known], Alert]] = {
    Topic.ALERT_LATE: _late,
    Topic.ALERT_DUPLICATE: _duplicate,
    Topic.ALERT_AMOUNT: _amount,
    Topic.ALERT_PARTICIPANT: _participant,
    Topic.ALERT_REFUND: _refund,
    Topic.ALERT_DISPUTE: _dispute,
    Topic.ALERT_STUCK: _stuck,
    Topic.ALERT_DEAD_LETTER: _dead,
    Topic.ALERT_DISCREPANCY: _discrepancy,
    Topic.ALERT_CIRCUIT: _circuit,
    Topic.ALERT_CERTIFICATE: _certificate,
    Topic.ALERT_STALLED: _stalled,
    Topic.ALERT_STATUS: _status,
    Topic.ALERT_UNAPPLIED: _unapplied,
}


async def enqueue_alert(ctx: AppContext, topic: Topic, payload: dict[str, Any], *, once: str) -> bool:
    """Leave an alert that is about no payment, in a transaction of its own.

    :param once: what makes it the same message; False where it was left before.
    """
    async with ctx.db.writing() as session:
        return await queues.enqueue(
            session, topic, payload, row_id=ctx.new_id(), now=ctx.clock(), dedup_key=f"{topic}:{once}"
        )
