"""Compose alerts to operators, in English: what happened, to which payment, and the command to type next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from procomp_pay.config.delivery import one_line
from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.money import Money
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.storage.notifications import outbox as outbox_store

if TYPE_CHECKING:
    from procomp_pay.providers.notifications.smtp import Email
    from procomp_pay.services.views.payment import PaymentView

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert to operators.

    :param commands: what to type next, in this order.
    """

    title: str
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def as_chat(self, prefix: str = "") -> str:
        """Return the alert in Slack's mrkdwn; outside text cannot mention anybody, link, or format."""
        parts = [f"*{_escaped(prefix + self.title)}*", *(_escaped(line) for line in self.lines)]
        return "\n".join([*parts, *(f"`{_escaped(command)}`" for command in self.commands)])

    def as_email(self, prefix: str, key: str, to: str, at: datetime) -> Email:
        """Return the alert as a plain e-mail to the operators."""
        from procomp_pay.providers.notifications.smtp import Email

        steps = [f"  {command}" for command in self.commands]
        text = "\n".join([*self.lines, *(["", "What to do next:", *steps] if steps else []), ""])
        return Email(key, to, f"{prefix}{self.title}", text, None, "en", at)


def _escaped(text: str) -> str:
    """Escape Slack's three special characters, and replace those that would format."""
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("*", "∗"), ("`", "ˋ")):
        text = text.replace(sign, instead)
    return text


def compose(topic: str, payload: Mapping[str, Any], view: PaymentView | None) -> Alert:
    """Return the alert for a message; an unknown topic gets a generic one.

    :param view: the payment that it is about, in its current state.
    """
    make = _MAKERS.get(topic)
    alert = make(_AlertData(payload, view)) if make else Alert(f"procomp-pay: {topic}")
    lines = [*(_short(line) for line in alert.lines)]
    if view is not None:
        lines.append(_short(_payment_line(view)))
    repeats = payload.get("held_back")
    if repeats:
        times = "time" if repeats == 1 else "times"
        lines.append(f"The same happened {repeats} more {times} since the last alert.")
    return replace(alert, title=_short(alert.title), lines=tuple(lines))


@dataclass(frozen=True, slots=True)
class _AlertData:
    payload: Mapping[str, Any]
    view: PaymentView | None

    def text(self, name: str) -> str:
        value = self.payload.get(name)
        return str(value) if value is not None else ""

    @property
    def money(self) -> str:
        """Return the amount of the event; "money" if the message has none."""
        amount, currency = self.payload.get("amount"), self.payload.get("currency")
        if not isinstance(amount, Decimal | int) or currency is None:
            return "money"
        return str(Money.parse(amount, str(currency)))

    @property
    def payment(self) -> str:
        return self.text("payment_id") or (self.view.payment_id if self.view else "PAYMENT")

    @property
    def participant(self) -> str:
        return self.view.participant_name if self.view else "an unknown participant"

    @property
    def history(self) -> str:
        participant_id = self.text("participant_id") or (
            self.view.participant_id if self.view else "PARTICIPANT"
        )
        return f"procomp-pay history {participant_id}"

    @property
    def status(self) -> str:
        return f"procomp-pay status --payment {self.payment}"


def _payment_line(view: PaymentView) -> str:
    event = view.tournament_name + (f", {view.category}" if view.category else "")
    return f"{view.participant_name} · {event} · payment {view.payment_id} is {view.status}, {view.charged}"


def _short(text: str) -> str:
    """Return outside text as one line of at most :data:`_LONGEST` characters."""
    text = one_line(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _when(text: str) -> str:
    """Return a stored time as local time in Almaty."""
    try:
        local = datetime.fromisoformat(text).astimezone(ALMATY)
    except ValueError:
        return text
    return f"{local:%a} {local.day} {local:%b} {local:%H:%M} (Almaty)"


def _late(data: _AlertData) -> Alert:
    return Alert(
        f"Late payment: {data.money} from {data.participant}",
        ("It came after the payment had ended. It is recorded and waits for manual review.",),
        (data.history, "procomp-pay discrepancies list"),
    )


def _duplicate(data: _AlertData) -> Alert:
    if other := data.text("settled"):
        return Alert(
            f"One operation for two payments: {data.money} from {data.participant}",
            (
                f"Kaspi names operation {data.text('operation')} for this payment.",
                f"It was verified for payment {other}, too: the money came once, and both count it.",
                "Give nothing back as a second payment.",
            ),
            (data.history, f"procomp-pay status --payment {other}", "procomp-pay discrepancies list"),
        )
    return Alert(
        f"Paid twice: {data.money} from {data.participant}",
        ("The fee was settled before, by another payment or by the platform. Refund one of the two.",),
        (data.history, f'procomp-pay refund {data.payment} --reason "paid twice"'),
    )


def _amount(data: _AlertData) -> Alert:
    charged = data.text("asked") or (str(data.view.charged) if data.view else "")
    # settlement names the fee itself if the provider's amount could not be read
    came = "an unreadable amount" if data.money == charged else data.money
    lines = ["The payment is not settled and the participant is not PAID. It waits for manual review."]
    if other := data.text("settled"):
        lines.append(
            f"Operation {data.text('operation')} was verified for payment {other}, too: the money came once."
        )
    return Alert(
        f"Amount differs from the fee: {came}" + (f" instead of {charged}" if charged else ""),
        tuple(lines),
        (data.status, "procomp-pay discrepancies list"),
    )


def _participant(data: _AlertData) -> Alert:
    return Alert(
        f"Paid, but the registration is gone: {data.money} from {data.participant}",
        ("It was cancelled, removed or moved to another tournament. The money settles no registration.",),
        (data.history, f'procomp-pay refund {data.payment} --reason "registration cancelled"'),
    )


def _refund(data: _AlertData) -> Alert:
    why = data.text("why")
    return Alert(
        f"A refund failed or does not match: {data.money} to {data.participant}",
        (f"Reason: {why}" if why else "It failed at the provider, or does not match our records.",),
        (data.history, data.status),
    )


_DISPUTE = {
    "open": "was opened: the customer's bank demands the money back",
    "withdrawn": "was opened, and Stripe has withdrawn the money for now",
    "won": "was won: the money stays with us",
    "lost": "was lost: the money went back to the customer",
}


def _dispute(data: _AlertData) -> Alert:
    state = data.text("state")
    due = data.text("evidence_until")
    lines = [f"Dispute {data.text('dispute')} over {data.money} {_DISPUTE.get(state, state)}."]
    if due and state in ("open", "withdrawn"):
        lines.append(
            f"Evidence is accepted until {_when(due)}: submit it in Stripe's dashboard, Payments, Disputes."
        )
    return Alert(f"Dispute {state}: {data.money}, {data.participant}", tuple(lines), (data.history,))


def _stuck(data: _AlertData) -> Alert:
    return Alert(
        f"A Kaspi payment does not become final: {data.money} from {data.participant}",
        (f"Its status at Kaspi is still {data.text('status')}. Polling continues; please check it.",),
        (f"{data.status} --refresh", "procomp-pay discrepancies list"),
    )


def _dead(data: _AlertData) -> Alert:
    error = data.text("error") or "the reason is unknown"
    if data.text("destination"):
        channel = data.text("destination").replace("_", " ")
        return Alert(
            f"A message could not be delivered by {channel}",
            (f"{data.text('topic')}: {error}.",),
            (f"procomp-pay outbox show {data.text('delivery_id')}", "procomp-pay outbox replay --dead"),
        )
    return Alert(
        f"An event was given up: {data.text('type')}",
        (f"Event {data.text('event_id')} could not be handled: {error}.",),
        (f"procomp-pay events show {data.text('event_id')}", "procomp-pay events replay --dead"),
    )


def _discrepancy(data: _AlertData) -> Alert:
    kind = data.text("kind").replace("_", " ").lower()
    return Alert(
        f"Our records and the provider's differ: {kind}",
        ("The discrepancy stays open until an operator resolves it.",),
        (f"procomp-pay discrepancies show {data.text('discrepancy_id')}", "procomp-pay discrepancies list"),
    )


def _circuit(data: _AlertData) -> Alert:
    provider = data.text("provider").capitalize() or "A provider"
    return Alert(
        f"{provider} does not answer",
        (f"Its circuit is open: payments with {provider} are refused at once until it answers again.",),
        ("procomp-pay doctor",),
    )


def _stalled(data: _AlertData) -> Alert:
    return Alert(
        f"Background work has stalled: {data.text('work')}",
        (f"The oldest item has been due since {_when(data.text('since'))}.",),
        ("procomp-pay doctor", "procomp-pay maintain"),
    )


def _status(data: _AlertData) -> Alert:
    return Alert(
        f"Kaspi contradicts a manual verification: {data.participant} has not paid",
        (f"{data.text('recorded_by') or 'An operator'} confirmed the payment; Kaspi reports it as unpaid.",),
        (f"{data.status} --refresh", "procomp-pay discrepancies list"),
    )


def _unapplied(data: _AlertData) -> Alert:
    return Alert(
        f"{data.text('provider').capitalize() or 'A provider'} reported money that belongs to no payment",
        (f"It is recorded as {data.text('event_id')} and settles no registration.",),
        ("procomp-pay discrepancies list", f"procomp-pay events list --provider {data.text('provider')}"),
    )


def _label(data: _AlertData) -> Alert:
    return Alert(
        f"The platform has added {data.text('label')}, which procomp-pay does not know",
        ("Rows with this label are shown, and left alone: none is charged, settled or counted as paid.",),
        ("procomp-pay db status",),
    )


def _certificate(data: _AlertData) -> Alert:
    return Alert(
        data.text("why") or "Kaspi's client certificate ends soon",
        ("Without it no Kaspi payment works. Ask the bank for a new one and replace the files.",),
        ("procomp-pay doctor",),
    )


_MAKERS: dict[str, Callable[[_AlertData], Alert]] = {
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
    Topic.ALERT_LABEL: _label,
}


async def enqueue_alert(ctx: AppContext, topic: Topic, payload: dict[str, Any], *, once: str) -> bool:
    """Enqueue an alert that is about no payment, in a transaction of its own.

    :param once: the part of the deduplication key after the topic.
    :returns: False if an alert with this key was enqueued before.
    """
    async with ctx.db.writing() as session:
        return await outbox_store.enqueue(
            session, topic, payload, row_id=ctx.new_id(), now=ctx.clock(), dedup_key=f"{topic}:{once}"
        )
