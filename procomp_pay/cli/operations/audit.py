"""``audit``: show, verify, seal and archive the audit trail."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import audited_payment, load_settings, operator, run_with_context
from procomp_pay.cli.framework.language import _, counted
from procomp_pay.cli.framework.options import AsOption, JsonOption, PaymentArgument, command_group
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.retention import LEAST_AUDIT_DAYS

if TYPE_CHECKING:
    from procomp_pay.services.audit.archive import Archived
    from procomp_pay.services.audit.seals import Sealed
    from procomp_pay.services.audit.trail import Trail
    from procomp_pay.services.audit.verify import AuditReport
    from procomp_pay.services.context import AppContext

#: Entries whose hashing takes longer than the start of further processes.
_MANY = 50_000
_SHOW = """[bold]Examples[/]

  procomp-pay audit show PAYMENT
  procomp-pay audit show PAYMENT --json

Exit code 6: the chain was tampered with."""
_VERIFY = """[bold]Examples[/]

  procomp-pay audit verify
  procomp-pay audit verify PAYMENT
  procomp-pay audit verify --root 5f1c…   a root that was kept elsewhere

Without PAYMENT, seals are recomputed too: the newest 30 and a sample of older
ones, or all with --all-seals.

Exit code 6: the first broken link is shown."""
_ARCHIVE = """[bold]Examples[/]

  procomp-pay audit archive /var/lib/procomp-pay/archive
  procomp-pay audit archive /var/lib/procomp-pay/archive --keep-days 800
  procomp-pay audit verify --archive /var/lib/procomp-pay/archive

Copy the files elsewhere: what is in them is no longer in the database. Of each payment
its newest state stays. Killed in the middle, nothing is lost: run it again.

Exit code 6: the trail is not intact, or a file was changed; nothing was removed."""
_SEAL = """[bold]Examples[/]

  procomp-pay audit seal
  procomp-pay audit seal --print | mail -s "audit seal" finance@example.com

A seal that is kept elsewhere reveals any later change, even one by the owner of the
database: check it with audit verify --root.

Exit code 6: the trail does not match
the last seal."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("Show, verify, seal and archive the audit trail.")
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_VERIFY)(verify)
    group.command(epilog=_SEAL)(seal)
    group.command(epilog=_ARCHIVE)(archive)
    app.add_typer(group, name="audit")


def show(payment: PaymentArgument, as_json: JsonOption = False) -> None:
    """Show everything that happened to a payment: who, what, when and why."""

    async def work(ctx: AppContext) -> Trail:
        from procomp_pay.services.audit import trail as service

        return await service.trail(ctx, await audited_payment(ctx, payment, as_json=as_json))

    trail = run_with_context(work)
    if as_json:
        entries = [step.full() for step in trail.steps]
        console.print_json({"payment_id": trail.payment_id, "entries": entries} | _report(trail.report))
    else:
        from procomp_pay.cli.operations import audit_output

        console.print_long(audit_output.trail_lines(trail))
        audit_output.show_findings(trail.report)
    if not trail.report.is_sound:
        raise typer.Exit(6)


def verify(
    payment: Annotated[
        str | None, typer.Argument(help="Verify only this payment's chain.", metavar="PAYMENT")
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="HEX", help="Compare with this root of a seal.")] = None,
    all_seals: Annotated[bool, typer.Option("--all-seals", help="Recompute all seals.")] = False,
    archives: Annotated[
        Path | None,
        typer.Option("--archive", metavar="DIR", help="Verify the archives in this directory too."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that no audit entry was changed, removed, added or moved."""
    if payment is not None and (root is not None or all_seals):
        raise typer.BadParameter(
            "seals cover all payments: --root and --all-seals cannot be combined with PAYMENT"
        )
    if root is not None and not _is_root(root):
        raise Refused(
            "A root has 64 hexadecimal digits", next_step="copy the whole root that audit seal printed"
        )

    async def work(ctx: AppContext) -> AuditReport:
        from procomp_pay.cli.framework.progress import bar
        from procomp_pay.services.audit import verify as audit_verify

        chain = None if payment is None else await audited_payment(ctx, payment, as_json=as_json)
        total = await _entries(ctx)
        with bar(_("verifying"), lambda: total, quiet=as_json or payment is not None) as on_progress:
            return await audit_verify.verify(
                ctx,
                chain,
                root=root,
                all_seals=all_seals,
                archives=archives,
                on_progress=on_progress,
                processes=(os.cpu_count() or 1) if total >= _MANY else 1,
            )

    report = run_with_context(work)
    if as_json:
        console.print_json(_report(report))
    else:
        from procomp_pay.cli.operations import audit_output

        audit_output.show_findings(report)
        if payment is None and not report.seals:
            console.say(
                _("There is no seal yet. Without one, a removed end of a chain is not noticed."), fg="yellow"
            )
            console.hint("procomp-pay audit seal")
    if not report.is_sound:
        raise typer.Exit(6)


def _is_root(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdefABCDEF" for c in text)


async def _entries(ctx: AppContext) -> int:
    from procomp_pay.storage.audit import seals as audit_seals

    async with ctx.db.reading() as session:
        return await audit_seals.newest_entry(session)


def _report(report: AuditReport) -> dict[str, Any]:
    return {
        "sound": report.is_sound,
        "chains": report.chains,
        "checked_entries": report.entries,
        "erased_entries": report.erased,
        "seals": report.seals,
        "newest_root": report.root,
        "archived_entries": report.archived,
        "archives_checked": report.archives,
        "findings": [asdict(finding) | {"flaw": finding.flaw.value} for finding in report.findings],
        "more": report.more,
    }


def seal(
    only_root: Annotated[bool, typer.Option("--print", help="Print only the root.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Seal even if the trail does not match the last seal.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal the audit trail: one root hash over the ends of all chains."""
    settings, actor = load_settings(), operator(acting)

    async def work(ctx: AppContext) -> Sealed:
        from procomp_pay.cli.framework.progress import bar
        from procomp_pay.services.audit import seals as audit_seals

        total = await _entries(ctx)
        with bar(_("sealing"), lambda: total, quiet=as_json) as on_progress:
            return await audit_seals.seal(ctx, actor.name, force=force, on_progress=on_progress)

    sealed = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(sealed.full())
    elif only_root:
        typer.echo(sealed.root)
    else:
        entries = counted("%(n)d entry", "%(n)d entries", sealed.entries)
        chains = counted("in %(n)d chain", "in %(n)d chains", sealed.chains)
        typer.echo(f"✓ {_('seal %(n)s', n=sealed.number)}: {entries} {chains}")
        typer.echo("  " + _("root %(root)s", root=sealed.root))
        console.say(_("Keep the root where the owner of this database cannot change it."))
        console.hint(f"procomp-pay audit verify --root {sealed.root}")


def archive(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="An existing directory.", exists=True, file_okay=False),
    ],
    keep_days: Annotated[
        int,
        typer.Option(min=LEAST_AUDIT_DAYS, max=36500, metavar="DAYS", help="Days to keep."),
    ] = 400,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move old audit entries to a file that can be verified, up to a seal."""
    from datetime import timedelta

    settings, actor = load_settings(), operator(acting)

    async def work(ctx: AppContext) -> Archived:
        from procomp_pay.cli.framework.progress import bar
        from procomp_pay.services.audit import archive as service

        total = await _entries(ctx)
        with bar(_("verifying"), lambda: total, quiet=as_json) as on_progress:
            return await service.archive(
                ctx, directory, actor, keep=timedelta(days=keep_days), on_progress=on_progress
            )

    archived = run_with_context(work, settings=settings)
    if as_json:
        made = archived.made.full() if archived.made else None
        console.print_json({"archive": made, "sealed_at": archived.sealed_at, "removed": archived.cut})
    elif archived.made is None:
        typer.echo(f"Nothing to archive: no new seal is older than {formats.counted(keep_days, 'day')}")
        if archived.cut:
            typer.echo(f"✓ {formats.counted(archived.cut, 'entry')} of the last archive removed")
    else:
        count = formats.counted(archived.made.entries, "entry")
        typer.echo(f"✓ {directory / archived.made.file}: {count}, up to seal {archived.made.seal}")
        typer.echo(f"  sha256 {archived.made.sha256}")
        typer.echo(f"  {formats.counted(archived.cut, 'entry')} removed from the database")
        console.say("Copy the file elsewhere, too.")
        console.hint(f"procomp-pay audit verify --archive {directory}")
