"""The screen of one person: the QR with the countdown, PAID, and what else can be done about the payment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Digits, Static

from procomp_pay.cli.desk import reads
from procomp_pay.cli.desk.app import DeskScreen, Keys, qr_text
from procomp_pay.cli.desk.dialogs import Ask, Confirm
from procomp_pay.cli.desk.keys import key, read_scan
from procomp_pay.cli.desk.refund import RefundDialog
from procomp_pay.cli.desk.wording import KASPI_ANSWERS, money, provider, state, when
from procomp_pay.cli.display import qr
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.explain import explain
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.entry_fees import charge_for
from procomp_pay.domain.errors import PaymentError, Refused, Unavailable
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus, method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.page_link import public_page_url

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.geometry import Size
    from textual.timer import Timer

    from procomp_pay.cli.desk.reads import Record
    from procomp_pay.cli.payments.watch import Watched
    from procomp_pay.services.views.payment import Opening, PaymentView

#: Columns that the text beside a QR needs.
_BESIDE = 30
#: Seconds until a provider that did not answer is asked again.
_AGAIN_S = 5


class PersonScreen(DeskScreen):
    """One person's payment, from the choice of the method to PAID.

    :param receipt: the number of a receipt that was typed before the person was chosen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", N_("Next person")),
        Binding(key("k"), "pay('KASPI_QR')", "Kaspi", key_display="k"),
        Binding(key("a"), "pay('APPLE_PAY')", "Apple Pay", key_display="a"),
        Binding(key("g"), "pay('GOOGLE_PAY')", "Google Pay", key_display="g"),
        Binding(key("v"), "verify", N_("Receipt"), key_display="v"),
        Binding(key("c"), "cancel", N_("Cancel"), key_display="c"),
        Binding(key("r"), "refund", N_("Refund"), key_display="r"),
        Binding("escape", "back", N_("Back"), key_display="Esc"),
    ]

    def __init__(self, record: Record, receipt: str | None = None) -> None:
        super().__init__()
        self.record = record
        self._receipt = receipt
        self._opening: Opening | None = None
        self._watched: Watched | None = None
        self._busy: str | None = None
        self._note = ""
        self._was_paid = self.is_paid
        self._is_done = False  # paid while this screen was open
        self._has_acted = False
        self._drawn: tuple[str, Size] | None = None
        self._again: Timer | None = None
        self._again_in_s = 0

    # What is shown

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Static(id="code")
            with Vertical(id="side"):
                yield Static(id="notice")
                yield Static(id="banner")
                yield Static(id="who")
                yield Digits(id="amount")
                yield Static(id="state")
                yield Static(id="note")
        yield Keys(compact=True)

    def begin(self) -> None:
        if (payment := self.record.open) is not None and not self.is_paid:
            self._resume(payment)
        self.show()
        if self._receipt is not None:
            self.action_verify()

    def on_resize(self) -> None:
        self.show()

    @property
    def payment(self) -> PaymentView | None:
        """The payment that is shown: one to refund, the one that settled, the open one, else the newest."""
        record = self.record
        return (
            record.to_refund
            or record.paid
            or record.open
            or (record.payments[0] if record.payments else None)
        )

    @property
    def is_open(self) -> bool:
        """Whether a payment is shown that the customer can make now."""
        payment = self.payment
        return (
            not self.is_paid
            and self._opening is not None
            and payment is not None
            and self._opening.view.payment_id == payment.payment_id
            and not payment.is_final
        )

    @property
    def _to_cancel(self) -> PaymentView | None:
        """The payment to cancel: the one that is shown, or one that is open although the fee is paid."""
        return self.payment if self.is_open else self.record.to_cancel if self.is_paid else None

    @property
    def is_paid(self) -> bool:
        record = self.record
        is_settled = any(view.is_marked_paid or view.settled_by is not None for view in record.payments)
        return record.paid is not None or is_settled or (record.person.is_paid and not record.payments)

    def moved(self, watched: Watched, now: datetime) -> bool:
        """Take news of a followed payment of this person; return whether it is shown here."""
        view = watched.view
        if not self.is_attached or view.participant_id != self.record.person.participant_id:
            return False
        before = self.payment
        self._take(view)
        if view.status is PaymentStatus.COMPLETED and not self._is_done and not self._was_paid:
            self._is_done, self._note = True, ""
        if before is not None and before.payment_id == view.payment_id:
            self._watched = watched
            if view.settled_by is not None and before.settled_by is None:
                self.desk.call(self._reload())  # paid at another desk, or by another method
            self._resume_other()
        self.show(now)
        return self.payment is not None and self.payment.payment_id == view.payment_id

    def _take(self, view: PaymentView) -> None:
        """Put a view of a payment into the record, unless a later one is there already."""
        known = [each for each in self.record.payments if each.payment_id == view.payment_id]
        if known and known[0].updated_at > view.updated_at:
            return
        others = [each for each in self.record.payments if each.payment_id != view.payment_id]
        payments = sorted([view, *others], key=lambda each: each.created_at, reverse=True)
        self.record = reads.Record(self.record.person, payments, self.record.fees)

    def show(self, now: datetime | None = None) -> None:
        """Draw the screen as things stand."""
        if not self.is_drawn:
            return
        now, payment = now or self.desk.ctx.clock(), self.payment
        self.set_class(self.is_paid, "-paid")
        self._show_code()
        charged = payment.charged if payment is not None and (self.is_open or self.record.paid) else None
        self.put("notice", Text("" if self.desk.is_live else _("TEST: no real money moves"), "bold yellow"))
        self.query_one("#banner", Static).display = self.is_paid
        self.put("banner", Text(_("✓ PAID") if self._is_done else _("✓ ALREADY PAID")))
        self.put("who", self._who())
        amount = self.query_one("#amount", Digits)
        amount.display = charged is not None
        figure = "" if charged is None else money(charged).rpartition("\xa0")[0].replace("\xa0", " ")
        if amount.value != figure:
            amount.update(figure)
        self.put("state", self._state(payment, now))
        again = "" if self._again is None else " " + _("Next try in %(n)s s.", n=self._again_in_s)
        self.put("note", Text(self._trouble(now) or self._note + again, "bold yellow"))
        self.refresh_keys()

    def _who(self) -> Text:
        person = self.record.person
        about = " · ".join(console.clean(part) for part in (person.category, person.tournament_name) if part)
        return Text.assemble((console.clean(person.name), "bold"), "\n", about)

    def _state(self, payment: PaymentView | None, now: datetime) -> Text:
        text = Text()
        if self._busy is not None:
            return text.append(self._busy, "bold")
        if self.is_paid:
            return text.append(self._how_paid(payment, now))
        if self.is_open and payment is not None:
            text.append(f"{money(payment.charged)} · {method_name(payment.method)}\n\n", "bold")
            if payment.status is PaymentStatus.PENDING and payment.expires_at is not None:
                text.append(_("%(left)s left", left=formats.left(payment.expires_at, now)) + "\n", "bold")
            text.append(state(payment, now))
            code = f"\n\n{payment.code}" if payment.code else ""
            return text.append(code, "dim")
        if payment is not None:
            text.append(f"{method_name(payment.method)}: {state(payment, now)}\n\n", "bold")
        return text.append(self._ways_to_pay())

    def _how_paid(self, payment: PaymentView | None, now: datetime) -> str:
        if payment is None:
            return _("The platform has recorded it as paid.")
        if self.record.paid is None:
            return state(payment, now)  # paid otherwise, not by this payment
        lines = [
            f"{money(payment.charged)} · {method_name(payment.method)}",
            _(
                "%(when)s, taken by %(operator)s",
                when=when(payment.completed_at or payment.updated_at, now),
                operator=console.clean(payment.started_by),
            ),
        ]
        if payment.operation_number:
            lines.append(_("Receipt %(number)s", number=console.clean(payment.operation_number)))
        if payment.code:
            lines.append(payment.code)
        if (full := state(payment, now)) != _("Paid."):
            lines += ["", full]
        return "\n".join(lines)

    def _ways_to_pay(self) -> str:
        """Return the keys with the amounts that they charge."""
        fees = self.record.fees
        if fees is None:
            return _("This person is no longer registered.")
        lines = []
        for letter, methods in (
            ("k", [PaymentMethod.KASPI_QR]),
            ("a, g", [PaymentMethod.APPLE_PAY, PaymentMethod.GOOGLE_PAY]),
        ):
            try:
                amount = money(charge_for(fees, methods[0], None).charged)
            except Refused:
                amount = _("no fee is set")
            lines.append(f"{letter:<5}{', '.join(method_name(method) for method in methods):<24}{amount}")
        return "\n".join(lines)

    def _trouble(self, now: datetime) -> str:
        """Return what keeps us from knowing more about the open payment; empty if nothing does."""
        if not self.is_open or self._watched is None or self._busy is not None:
            return ""
        if self._watched.trouble is not None:
            return f"! {explain(self._watched.trouble)}"
        if self._watched.obstacle(now) is not None:
            return _("! No answer yet from %(provider)s.", provider=provider(self._watched.view.channel))
        return ""

    def _show_code(self) -> None:
        """Draw the QR while it can be scanned, or the reason why it cannot be drawn."""
        code, payment = self.query_one("#code", Static), self.payment
        payload = self._opening.qr_payload if self._opening is not None else None
        code.display = (
            self.is_open
            and payload is not None
            and payment is not None
            and payment.status is not PaymentStatus.PROCESSING
        )
        if not code.display or payload is None or payment is None or self._drawn == (payload, self.size):
            return
        self._drawn = (payload, self.size)
        # a window that is too small for the provider's own link may hold the short one of the payment's page
        for text in filter(None, (payload, public_page_url(self.desk.ctx, payment))):
            picture = qr.picture(text)
            if picture.width + _BESIDE <= self.size.width and picture.height < self.size.height:
                code.styles.width = picture.width
                self.put("code", qr_text(picture))
                code.add_class("-qr")
                return
        picture = qr.picture(payload)
        code.remove_class("-qr")
        code.styles.width = max(10, self.size.width - _BESIDE - 2)
        why = _(
            "The QR of this link needs %(columns)s x %(lines)s, this window has %(width)s x %(height)s. "
            "Make the window larger or the letters smaller, or send the link:",
            columns=picture.width + _BESIDE,
            lines=picture.height + 1,
            width=self.size.width,
            height=self.size.height,
        )
        self.put("code", Text.assemble((why, "bold yellow"), "\n\n", console.clean(payload)))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        payment = self.payment
        can_start = not self.is_paid and self._busy is None and self.record.fees is not None
        allowed = {
            "next": self.is_paid,
            "pay": can_start and not (self.is_open and payment and parameters == (payment.method.value,)),
            "verify": self._busy is None and not self.is_paid and self.record.to_verify is not None,
            "cancel": self._busy is None and self._to_cancel is not None,
            "refund": self._busy is None and self.record.to_refund is not None,
        }
        return bool(allowed.get(action, True))

    def scanned(self, text: str) -> None:
        """Take a receipt that is scanned while its payer is on the screen; anything else is searched for."""
        scan = read_scan(text)
        if scan is not None and scan.receipt is not None and self.check_action("verify", ()):
            self._receipt = scan.receipt
            self.action_verify()
        elif scan is not None:
            self.dismiss(text)

    def action_next(self) -> None:
        self.dismiss("")

    def action_back(self) -> None:
        self.dismiss("" if self._has_acted or self.is_paid else None)

    def on_unmount(self) -> None:
        self._stop_again()

    async def action_pay(self, method: str) -> None:
        chosen = PaymentMethod(method)
        if not self.is_open or self.payment is None:
            self._start(chosen)
            return
        question = _(
            "A payment by %(open)s is still open. Take %(name)s instead, for the same person?",
            open=method_name(self.payment.method),
            name=method_name(chosen),
        )
        question = f"{console.clean(self.record.person.name)}\n{question}"
        if self.payment.channel is Channel.KASPI_QR:
            question += " " + _("Kaspi cannot recall its QR: it must not be paid any more.")

        def answered(yes: bool | None) -> None:
            if yes and self.check_action("pay", (method,)):
                self._start(chosen)

        self.app.push_screen(Confirm(question), answered)

    def _start(self, method: PaymentMethod) -> None:
        """Start a payment, or take up the open one. Nothing else can be started before the answer."""
        channel = Channel.KASPI_QR if method.is_kaspi else Channel.STRIPE_CHECKOUT
        self._begin(_("Asking %(provider)s …", provider=provider(channel)))
        self.desk.call(self._charge(InitiateRequest(self.record.person.participant_id, method, channel)))

    async def _charge(self, request: InitiateRequest) -> None:
        try:
            started = await initiate(self.desk.ctx, request, self.desk.actor)
            opening = await views.opening(self.desk.ctx, started.payment_id)
        except PaymentError as error:
            await self._refused(error)
            # unless a payment that was opened elsewhere is being taken up instead
            if isinstance(error, Unavailable) and self.is_attached and self._busy is None:
                self._again_in_s = min(error.retry_after or _AGAIN_S, 30)
                self._again = self.set_interval(1, lambda: self._count_down(request.method))
                self.show()
            return
        self._end()
        self._open(opening)
        if started.reused:
            self._note = _("This payment was already open; no second one was started.")
        if self.record.invoice is not None and request.channel is Channel.KASPI_QR:
            self._note = _(
                "An invoice is on the customer's phone too: the customer must reject it in the Kaspi app."
            )
        self.show()

    def _open(self, opening: Opening) -> None:
        """Show how to pay a payment, and follow it."""
        self._opening, self._watched = opening, None
        self._take(opening.view)
        self.desk.follow(opening.view.payment_id)

    def _resume(self, payment: PaymentView) -> None:
        """Take up the open payment of this person."""
        self._begin(_("Looking at the open payment …"))
        self.desk.call(self._reopen(payment))

    async def _reopen(self, payment: PaymentView) -> None:
        try:
            opening = await views.opening(self.desk.ctx, payment.payment_id)
        except PaymentError as error:
            await self._refused(error)
            return
        self._end()
        is_unopened = opening.qr_payload is None and payment.channel in (
            Channel.KASPI_QR,
            Channel.STRIPE_CHECKOUT,
        )
        if is_unopened and payment.status is PaymentStatus.PENDING:
            self._start(PaymentMethod(payment.method))  # the provider was away when it was started
            return
        self._open(opening)
        self.show()

    def _begin(self, text: str) -> None:
        self._stop_again()
        self._busy, self._note, self._has_acted = text, "", True
        self.show()

    def _end(self) -> None:
        self._busy = None

    async def _refused(self, error: PaymentError) -> None:
        """Show an error with the payments as they are now."""
        self._end()
        self._note = f"! {explain(error)}"
        await self._reload()

    async def _reload(self) -> None:
        try:
            fetched = await reads.record(self.desk.ctx, self.record.person)
        except PaymentError as error:
            self._note = f"! {explain(error)}"
        else:
            self.record = reads.Record(fetched.person, self.record.payments, fetched.fees)
            for view in fetched.payments:
                self._take(view)  # news that came during the read stays
        if not self.is_attached and self._note:
            self.desk.notify(f"{self.record.person.name}: {self._note}", timeout=15, markup=False)
        self._resume_other()
        self.show()

    def _resume_other(self) -> None:
        """Take up the payment that is open now, if the QR on the screen is of another one."""
        payment, opening = self.record.open, self._opening
        if (
            not self.is_attached
            or self._busy is not None
            or self.is_paid
            or payment is None
            or opening is None
        ):
            return
        if payment.payment_id != opening.view.payment_id:
            note, self._opening = self._note, None  # once: a payment that cannot be shown is not tried again
            self._resume(payment)
            self._note = note

    def _count_down(self, method: PaymentMethod) -> None:
        """Count a second of the wait for the next try; start it after the last one."""
        self._again_in_s -= 1
        if self.is_paid:
            self._stop_again()
        elif self._again_in_s == 0:
            self._start(method)
        self.show()

    def _stop_again(self) -> None:
        if self._again is not None:
            self._again.stop()
            self._again = None

    def action_cancel(self) -> None:
        payment = self._to_cancel
        if payment is None:
            return
        question = _(
            "Cancel this payment of %(money)s by %(method)s?",
            money=money(payment.charged),
            method=method_name(payment.method),
        )
        question = f"{console.clean(self.record.person.name)}\n{question}"

        def answered(yes: bool | None) -> None:
            if yes and self.check_action("cancel", ()):
                self._begin(_("Cancelling …"))
                self.desk.call(self._cancel(payment.payment_id))

        self.app.push_screen(Confirm(question), answered)

    async def _cancel(self, payment_id: str) -> None:
        try:
            await cancel(self.desk.ctx, payment_id, self.desk.actor)
        except PaymentError as error:
            await self._refused(error)
            return
        self._end()
        await self._reload()

    def action_verify(self) -> None:
        payment = self.record.to_verify
        number, self._receipt = self._receipt or "", None
        if payment is None or self.is_paid:
            self._note = _("This person has no Kaspi payment to verify.") if not self.is_paid else ""
            self.show()
            return

        def answered(typed: str | None) -> None:
            if typed and self.check_action("verify", ()):
                scan = read_scan(typed)
                if scan is None or scan.receipt is None:
                    self._note = _("! This is not a receipt's number: it has 8 to 18 digits.")
                    self.show()
                    return
                self._begin(_("Asking %(provider)s …", provider="Kaspi"))
                self.desk.call(self._verify(payment.payment_id, scan.receipt))

        question = _(
            "The receipt's number, with or without QR. It is on the customer's receipt and in Kaspi Pay."
        )
        self.app.push_screen(Ask(question, number), answered)

    async def _verify(self, payment_id: str, number: str) -> None:
        try:
            result = await verify(self.desk.ctx, VerificationRequest(payment_id, number), self.desk.actor)
        except PaymentError as error:
            await self._refused(error)
            return
        self._end()
        await self._reload()
        self._is_done = True
        self.desk.ring(payment_id)
        self._note = _(KASPI_ANSWERS.get(result.kaspi.value, ""))
        self.show()

    def action_refund(self) -> None:
        payment = self.record.to_refund
        if payment is not None:
            self.app.push_screen(RefundDialog(payment), lambda _result: self.desk.call(self._reload()))
