"""The questions of a refund, as the command asks them: reason, amount, and yes to the summary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, Input, Static

from procomp_pay.cli.desk.app import qr_text
from procomp_pay.cli.desk.dialogs import Dialog
from procomp_pay.cli.desk.keys import NO, YES
from procomp_pay.cli.desk.wording import is_no_refund_by_api, money, refund_state
from procomp_pay.cli.display import qr
from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.explain import explain
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.errors import OutcomeUnknown, PaymentError, ProviderUnavailable
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.refunds.create import Plan, RefundCommand, plan, refund
from procomp_pay.services.refunds.customer_scan import customer_scan
from procomp_pay.services.refunds.policy import Proposal, propose
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from procomp_pay.providers.kaspi.refunds import RefundQr
    from procomp_pay.services.views.payment import PaymentView


class RefundDialog(Dialog):
    """Refund a payment: reason and amount, the summary, then the result."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(YES, "agree", N_("Refund it"), key_display=N_("y")),
        Binding(f"escape,{NO}", "stop", N_("Back"), key_display="Esc"),
    ]

    def __init__(self, payment: PaymentView) -> None:
        super().__init__()
        self._payment = payment
        self._command: RefundCommand | None = None
        self._is_running = False
        self._proposal: Proposal | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._head(), id="text")
            yield Input(placeholder=_("Reason, for the record"), id="reason", max_length=500)
            yield Input(
                placeholder=_("Amount; empty for all of %(money)s", money=money(self._payment.rest)), id="sum"
            )
            yield Static(id="problem")
            yield Footer()

    def on_mount(self) -> None:
        self.desk.call(self._show_policy())

    async def _show_policy(self) -> None:
        """Show what goes back by the policy, and what is against a refund before its reason is typed."""
        payment_id = self._payment.payment_id
        try:
            proposal = await propose(self.desk.ctx, payment_id)
            if proposal is not None and self.is_drawn:
                self.query_one("#sum", Input).placeholder = _(
                    "Amount; empty for %(money)s (%(rule)s)",
                    money=money(proposal.money),
                    rule=translated(proposal.rule),
                )
            proposed = proposal.money if proposal else None
            await plan(self.desk.ctx, RefundCommand(payment_id, "…", at_desk=True, proposed=proposed))
        except PaymentError as error:
            if self._command is None:
                self._problem(self._explain(error))

    def _head(self) -> Text:
        payment = self._payment
        name = console.clean(payment.participant_name)
        parts = [name, money(payment.charged), method_name(payment.method), payment.code or ""]
        return Text.assemble((_("Refund"), "bold"), *(f" · {part}" for part in parts if part))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        return (
            not self._is_running if action != "agree" else self._command is not None and not self._is_running
        )

    def action_stop(self) -> None:
        self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        reason = self.query_one("#reason", Input)
        if not reason.value.strip():
            self._problem(_("A refund needs a reason."))
            reason.focus()
        else:
            self.desk.call(self._plan(reason.value, self.query_one("#sum", Input).value))

    async def _plan(self, reason: str, amount: str) -> None:
        try:
            asked = Money.typed(amount, self._payment.charged.currency) if amount.strip() else None
            self._proposal = await propose(self.desk.ctx, self._payment.payment_id, asked)
            proposed = self._proposal.money if self._proposal else None
            command = RefundCommand(self._payment.payment_id, reason, asked, at_desk=True, proposed=proposed)
            if self._proposal is not None:
                self._proposal.check(command)
            planned = await plan(self.desk.ctx, command)
        except PaymentError as error:
            self._problem(self._explain(error))
            return
        if not self.is_drawn:
            return  # left meanwhile
        self._command = replace(command, before=planned.before)
        for field in self.query(Input):
            field.display = False
        self.set_focus(None)
        self._problem("")
        self.query_one("#text", Static).update(self._summary(planned))
        self.refresh_bindings()

    def _summary(self, planned: Plan) -> Text:
        reason = console.clean(self._command.reason if self._command else "")
        rows = [
            _(
                "Refund %(money)s? What remains: %(rest)s",
                money=money(planned.money),
                rest=money(planned.rest),
            ),
            _("Reason: %(reason)s", reason=reason),
            _("The money goes back to the Kaspi account.")
            if self._payment.channel.is_kaspi
            else _("The money goes back to the card."),
        ]
        if self._proposal is not None:
            rule, by_policy = translated(self._proposal.rule), money(self._proposal.money)
            rows.append(_("Refund policy: %(rule)s, %(money)s", rule=rule, money=by_policy))
        if planned.before.amount:
            rows.append(_("Refunded before: %(money)s", money=money(planned.before)))
        if not planned.rest.amount and not self._payment.is_duplicate:
            rows.append(_("The person will count as unpaid."))
        return Text.assemble(self._head(), "\n\n", "\n".join(rows))

    def action_agree(self) -> None:
        if self._command is not None and not self._is_running:
            self._is_running = True
            provider = "Kaspi" if self._payment.channel.is_kaspi else "Stripe"
            self._problem(_("Asking %(provider)s …", provider=provider))
            self.desk.call(self._refund(self._command))

    async def _refund(self, command: RefundCommand) -> None:
        ctx = self.desk.ctx
        try:
            scan = await customer_scan(ctx, command.payment_id, self._show_qr, self._unlisted)
            refunded = await refund(ctx, replace(command, customer_scan=scan), self.desk.actor)
            view = await views.one(ctx, command.payment_id)
            mine = [row for row in view.refunds if row.refund_id == refunded.refund_id]
            result = " ".join(refund_state(row) for row in mine)
            if refunded.state is RefundState.PENDING:
                result += " " + _("It is tracked: do not refund again.")
        except (ProviderUnavailable, OutcomeUnknown):
            result = _("No answer came. If the refund was requested, it is tracked: do not refund again.")
        except PaymentError as error:
            result = _("Nothing was refunded.") + " " + self._explain(error)
        self._is_running, self._command = False, None
        if self.is_drawn:
            self._tell(Text.assemble(self._head(), "\n\n", (result, "bold")))
            self._problem("")
        else:
            self.desk.notify(result, timeout=15, markup=False)

    def _show_qr(self, code: RefundQr) -> None:
        """Show the refund QR, which the customer who paid has to scan."""
        if not self.is_drawn:
            return
        text = self.query_one("#text", Static)
        text.update(qr_text(qr.picture(code.token)))
        text.add_class("-qr")
        self._problem(_("The customer scans this in the Kaspi app, within %(n)s seconds.", n=code.wait_s))

    def _unlisted(self) -> None:
        self._tell(self._head())
        self._problem(
            _("This payment is not among the latest purchases of the customer who scanned; Kaspi decides.")
        )

    def _tell(self, shown: Text) -> None:
        if not self.is_drawn:
            return
        text = self.query_one("#text", Static)
        text.remove_class("-qr")
        text.update(shown)

    def _explain(self, error: PaymentError) -> str:
        if not is_no_refund_by_api(error):
            return explain(error)
        command = f"procomp-pay refund {self._payment.code or self._payment.payment_id} --made-in-app …"
        return f"{explain(error)} " + _(
            "Refund it in the Kaspi Pay app (History, the payment), then record it: %(command)s",
            command=command,
        )

    def _problem(self, text: str) -> None:
        if not self.is_drawn:
            return  # left while the database was asked
        self.query_one("#problem", Static).update(Text(text, style="bold yellow"))
        self.refresh_bindings()
