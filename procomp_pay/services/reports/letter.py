"""Send a written report by mail, once for each period and address."""

from __future__ import annotations

from procomp_pay.config.delivery import is_address
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.operators import Right
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.reports.period import Report
from procomp_pay.storage.notifications import outbox


def check_address(ctx: AppContext, address: str) -> None:
    """Check that a letter can be sent.

    :raises Refused: no address. :raises ConfigurationError: letters are not configured.
    """
    if not is_address(address):
        raise Refused(
            N_("%(address)s is no e-mail address", address=repr(address[:80])),
            next_step=N_("write it as --mail name@example.com"),
        )
    ctx.senders.check_letters()


async def send(ctx: AppContext, report: Report, address: str, *, subject: str, text: str, html: str) -> bool:
    """Enqueue a report; return False if the same period was sent to the address before.

    A period without an end, or that is not over, is another one every day.
    """
    period, day = report.period, report.made_at.astimezone(report.period.zone).date()
    is_over = period.until is not None and period.until < day
    whose = report.tournament[0] if report.tournament else "all"
    parts = (whose, period.zone.key, period.since, period.until, "" if is_over else day, address.casefold())
    payload = {
        "to": address, "subject": subject, "text": text, "html": html, "language": ctx.senders.language,
    }  # fmt: skip
    async with ctx.db.writing() as session:
        await authorize.check(
            ctx, session, Right.FINANCE, report.tournament[0] if report.tournament else None
        )
        return await outbox.enqueue(
            session,
            Topic.LETTER_REPORT,
            payload,
            row_id=ctx.new_id(),
            now=ctx.clock(),
            dedup_key=":".join((Topic.LETTER_REPORT, *map(str, parts))),
        )
