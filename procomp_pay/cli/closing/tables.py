"""A closing as tables, for the terminal and for its sheet."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.reports.cells import (
    Cell,
    Id,
    Missing,
    Section,
    as_text,
    columns,
    local_time,
    method_or_word,
)
from procomp_pay.cli.reports.payout_table import WORDS
from procomp_pay.domain.closing import Step, StepRecord, StepState
from procomp_pay.domain.events import Source
from procomp_pay.domain.payouts import PayoutState
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.reports.tournament_closing import THE_APP

if TYPE_CHECKING:
    from procomp_pay.services.closing.closing import Closing
    from procomp_pay.services.closing.figures import BothSides, DayFigures
    from procomp_pay.storage.reports.tournament_closing import ClosingPayment

#: The steps, in the reader's words.
STEPS = {
    Step.PENDING: N_("unfinished payments, refunds and events"),
    Step.STRIPE: N_("reconcile Stripe"),
    Step.KASPI: N_("reconcile Kaspi"),
    Step.PAYOUTS: N_("payouts to the bank"),
    Step.DISCREPANCIES: N_("discrepancies"),
    Step.REFUNDS: N_("refunds by hand in Kaspi Pay"),
    Step.SUMS: N_("sums of both sides"),
    Step.CLERKS: N_("clerks"),
    Step.SHEET: N_("closing sheet"),
    Step.EXPORTS: N_("exports for accounting"),
    Step.SEAL: N_("audit seal"),
    Step.SIGNATURES: N_("signatures"),
}
#: Files and folders that steps wait for.
_NEEDED = {"statement": N_("a statement file is needed"), "folder": N_("a folder is needed: --exports DIR")}
_RESOLUTIONS = {"accept": N_("accepted"), "write-off": N_("written off")}
_STATES = {
    StepState.WAITING: N_("to do"),
    StepState.OPEN: N_("still open"),
    StepState.DONE: N_("finished"),
    StepState.SKIPPED: N_("skipped"),
}

#: Words of the rows, for the catalogue.
MARKED = (
    N_("paid"), N_("refunded"), N_("disputes lost"), N_("paid at the provider"),
    N_("refunded at the provider"), N_("provider fees"), N_("event"), N_("payment"), N_("refund"),
    N_("not arrived"), N_("refused"), N_("dead"),
)  # fmt: skip


def sections(closing: Closing, *, for_paper: bool = False) -> list[Section]:
    """Return all tables; with the day's payments for paper and files."""
    figures = closing.figures
    tables = [_steps(closing)]
    if figures is not None:
        tables += [
            _sums(figures), _clerks(figures), unfinished(figures), _approvals(closing, figures),
            _open(figures), _unknown(figures), _by_hand(figures), _payouts(figures), _since(closing),
        ]  # fmt: skip
    tables.append(_signatures(closing))
    if for_paper and figures is not None:
        tables.append(_payments(closing, figures))
    return tables


def _local(closing: Closing, at: str | datetime | None) -> Cell:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return local_time(moment, closing.period.zone)


def _steps(closing: Closing) -> Section:
    rows: list[list[Cell]] = [
        [
            record.step.value,
            _(STEPS[record.step]),
            _(_STATES[record.state]),
            note(record),
            record.by or "",
            _local(closing, record.at),
        ]
        for record in closing.known_steps
    ]
    return Section(_("Steps"), columns("Step||State|Why|-By|-When"), rows)


def note(record: StepRecord) -> str:
    """Return a step's reason, or what is open in it, in a few words."""
    facts = record.facts
    if record.state is StepState.SKIPPED:
        return record.reason or ""
    if record.state is StepState.OPEN and record.items:
        return _what_is_open(record)
    if "not_configured" in facts and record.step is not Step.PAYOUTS:
        return _("not configured")
    if facts.get("followed") is False:
        return _("no statement of the bank was ever given: what arrived is not followed")
    file = facts.get("statement") or facts.get("bank_file")
    return str(file.get("file") if isinstance(file, dict) else facts.get("folder", ""))


def _what_is_open(record: StepRecord) -> str:
    if record.step in (Step.STRIPE, Step.KASPI):
        return ", ".join(map(item_text, record.items))
    if record.step is Step.EXPORTS:
        return translated(str(record.facts.get("why", ""))) or _(_NEEDED["folder"])
    if record.step is Step.SUMS:
        return ", ".join(_difference(item) for item in record.items)
    number = _("%(n)s open", n=len(record.items))
    is_cut = any(item.startswith("not all is listed") for item in record.items)
    return f"{number}, {_('not all is listed')}" if is_cut else number


def item_text(item: str) -> str:
    """Return what is open in a step, from the key that is stored; ids stay as they are."""
    if item in _NEEDED:
        return _(_NEEDED[item])
    subject, colon, why = item.partition(": ")
    if not colon or subject.partition(" ")[0] not in (Step.STRIPE, Step.KASPI):
        return translated(item)
    return f"{subject}: {_(WORDS[PayoutState(why)]) if why in list(PayoutState) else translated(why)}"


def _difference(item: str) -> str:
    """Return a sum that does not agree, from the item that the closing keeps of it."""
    method, currency, difference, not_seen = item.rsplit(maxsplit=3)
    if int(not_seen):
        what = _("Payments of which no record of the provider was read yet: %(n)s.", n=not_seen)
    else:
        what = f"{_('Difference')} {as_text(Decimal(difference))}"
    return f"{method_or_word(method)} {currency}: {what}"


def _sums(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            method_or_word(line.method), line.currency, line.ours.paid, line.ours.paid_sum,
            line.ours.refund_sum, line.ours.lost_sum, line.in_dispute, line.ours.kept, *_their_side(line),
            line.not_seen, Missing.NOT_KNOWN if line.without_fee else line.fees,
        ]
        for line in figures.both
    ]  # fmt: skip
    headings = (
        "Method|Currency|-Payments|-Taken|-Refunded|-Disputes lost|-In dispute|Kept|Provider has|Difference"
        "|-Not seen there|-Fees"
    )
    return Section(_("Sums of both sides"), columns(headings), rows, note=_sums_note(figures))


def _their_side(line: BothSides) -> tuple[Cell, Cell]:
    """Return what the provider has, and the difference; not known while nothing of it was read."""
    if line.not_seen and not line.theirs.paid:
        return Missing.NOT_KNOWN, Missing.NOT_KNOWN
    return line.theirs.kept, line.difference


def _sums_note(figures: DayFigures) -> str:
    notes = []
    if missing := sum(line.not_seen for line in figures.both):
        notes.append(_("Payments of which no record of the provider was read yet: %(n)s.", n=missing))
    if other := sum(line.other_currency for line in figures.both):
        notes.append(_("Movements on a balance of another currency, which are not compared: %(n)s.", n=other))
    return " ".join(notes)


def _clerks(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            _(clerk.name), clerk.currency, clerk.taken, clerk.taken_sum, clerk.verified, clerk.refunds,
            clerk.refund_sum,
        ]
        for clerk in figures.clerks
    ]  # fmt: skip
    return Section(_("By clerk"), columns("Clerk|Currency|Paid|Taken|Verified|Refunds made|Refunded"), rows)


def unfinished(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            _(each["what"]), each["name"], each.get("amount", ""),
            each.get("currency", ""), _unfinished_state(each["status"]), Id(each["id"]),
        ]
        for each in figures.unfinished
    ]  # fmt: skip
    return Section(_("Unfinished"), columns("What|Participant|Amount|Currency|-Status|Id"), rows)


def _unfinished_state(state: str) -> str:
    """Return the state of an event, a payment or a refund in words."""
    return _(wording.STATUSES.get(state.upper(), state)).lower()


def _approvals(closing: Closing, figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            wording.approval(each.content["action"]),
            ", ".join(
                f"{as_text(Decimal(amount))} {currency}" for currency, amount in each.content["sums"].items()
            ),
            each.requested_by, _local(closing, each.expires_at), Id(each.approval_id),
        ]
        for each in figures.approvals
    ]  # fmt: skip
    note_of_them = ""
    if rows:
        note_of_them = _("Another operator types: %(command)s", command="procomp-pay operator approve ID")
    title = _("Waiting for a second operator")
    return Section(title, columns("What|Sum|Asked by|-Until|Id"), rows, note=note_of_them)


def _open(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            wording.kind(view.kind), view.participant_name or "", view.money[0] if view.money else "",
            view.money[1] if view.money else "", Id(view.discrepancy_id),
        ]
        for view in figures.open
    ]  # fmt: skip
    return Section(_("Open discrepancies"), columns("What|Participant|Amount|Currency|Id"), rows)


def _unknown(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            view.provider or "", Id(view.ref), view.money[0] if view.money else "",
            view.money[1] if view.money else "", _(_RESOLUTIONS.get(view.resolution or "", "not resolved")),
        ]
        for view in figures.unknown
    ]  # fmt: skip
    title = _("Money of no payment of ours")
    return Section(title, columns("Provider|Operation|Amount|Currency|State"), rows)


def _by_hand(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [Id(refund.number), refund.amount, refund.currency, refund.name, wording.reason(refund.why)]
        for refund in figures.by_hand
    ]
    title = _("Refund by hand in the Kaspi Pay app")
    return Section(title, columns("Operation|Amount|Currency|Participant|Why"), rows)


def _payouts(figures: DayFigures) -> Section:
    rows: list[list[Cell]] = []
    for each in figures.payouts:
        payout = each.view.row.payout
        rows.append([
            payout.provider, Id(payout.ref), _(WORDS[each.view.state]), payout.expected_on,
            each.view.arrived_on or "", payout.amount, each.part, payout.currency,
        ])  # fmt: skip
    headings = "Provider|Payout|State|-Expected|-Arrived|Amount|Of this day|Currency"
    return Section(_("Payouts to the bank"), columns(headings), rows)


def _since(closing: Closing) -> Section:
    from procomp_pay.services.closing.closing import since_closing

    rows: list[list[Cell]] = [
        [_(change.what), method_or_word(change.method), change.currency, change.signed, change.now,
         change.now - change.signed]
        for change in since_closing(closing)
    ]  # fmt: skip
    return Section(_("Since the closing"), columns("What|Method|Currency|Signed|Now|Difference"), rows)


def _signatures(closing: Closing) -> Section:
    rows: list[list[Cell]] = [
        [each.name, _local(closing, each.at), each.account] for each in closing.signatures
    ]
    note_of_second = ""
    if closing.second_is_missing:
        note_of_second = _("The second signature is missing: there are no operator accounts.")
    return Section(_("Signatures"), columns("Signed by|When|Account"), rows, note=note_of_second)


def _number(row: ClosingPayment, figures: DayFigures) -> str:
    """Return the number that finds a payment at its provider."""
    known = figures.numbers.get(row.payment.id)
    return " ".join(known) if known else row.payment.stripe_payment_id or row.detail.provider_ref or ""


def _payments(closing: Closing, figures: DayFigures) -> Section:
    rows: list[list[Cell]] = [
        [
            _local(closing, row.detail.created_at),
            row.full_name or "",
            method_name(row.payment.method) if row.payment.method else "",
            row.detail.charged_amount,
            row.detail.charged_currency.value,
            _(THE_APP) if row.source == Source.APP.value else row.detail.started_by,
            wording.status(row.payment.status).lower(),
            row.detail.refunded_amount,
            Id(_number(row, figures)),
            Id(row.payment.id),
        ]
        for row in figures.payments
    ]
    headings = "Started|Participant|Method|Amount|Currency|Clerk|Status|Refunded|At the provider|Payment"
    return Section(_("Payments"), columns(headings), rows)
