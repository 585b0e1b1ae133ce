"""Old audit entries move to files, and database and files together verify as before."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.services.audit import archive as audit_archive
from procomp_pay.services.audit.archive import archive
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.trail import trail
from procomp_pay.services.audit.verify import Flaw, verify
from procomp_pay.services.receipts import receipt
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views.payment import Opening
from procomp_pay.storage.audit import archive as files
from procomp_pay.storage.audit import chain
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.stripe_payments import paid

DAY = 86_400.0
KEEP = timedelta(days=90)


async def old(environment: ServiceEnvironment) -> tuple[Opening, Opening]:
    """A payment with a receipt and an open one, sealed twice and long ago; then a refund."""
    first = await paid(environment)
    await receipt.record_fiscal_number(environment.ctx, first.view.payment_id, "A-17", CLERK)
    await seal(environment.ctx, "aigerim")
    second = await environment.start()
    await seal(environment.ctx, "aigerim")
    await refund(environment.ctx, RefundCommand(first.view.payment_id, "injured", usd("20")), CLERK)
    environment.later(100 * DAY)
    await seal(environment.ctx, "aigerim")
    return first, second


async def archived(environment: ServiceEnvironment, folder: Path) -> files.Archive:
    """Archive what is old."""
    await old(environment)
    made = (await archive(environment.ctx, folder, CLERK, keep=KEEP)).made
    assert made is not None
    return made


async def entries(environment: ServiceEnvironment) -> dict[int, str]:
    return {row.id: row.hash for row in await environment.rows(AuditEntry) if row.payment_id != files.CHAIN}


@pytest.mark.parametrize("page", [1, 500])
async def test_archived_entries_still_verify(
    environment: ServiceEnvironment, tmp_path: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await old(environment)
    monkeypatch.setattr(audit_read, "PAGE", page)
    before = await entries(environment)
    made = await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert made.made is not None
    assert made.made.seal == 2
    assert made.cut > 0
    left = await entries(environment)
    assert len(left) == len(before) - made.cut
    lines = [json.loads(line) for line in (tmp_path / made.made.file).read_text("utf-8").splitlines()]
    assert lines[0]["seal"] == 2
    assert {line["hash"] for line in lines[1:-1]} | set(left.values()) == set(before.values())
    assert (tmp_path / made.made.file).stat().st_mode & 0o777 == 0o600
    alone = await verify(environment.ctx, all_seals=True)
    assert (alone.findings, alone.seals, alone.archived) == ([], 2, made.made.entries)
    whole = await verify(environment.ctx, all_seals=True, archives=tmp_path)
    assert (whole.findings, whole.seals, whole.entries) == ([], 3, len(before) + 1)
    shown = await trail(environment.ctx, first.view.payment_id)
    assert shown.report.is_sound
    assert shown.steps[0].link.seq > 1
    assert (await receipt.of_payment(environment.ctx, first.view.payment_id)).fiscal_number == "A-17"


async def test_a_second_archive_goes_on_where_the_first_ended(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    await old(environment)
    before = await entries(environment)
    assert (await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)).made is not None
    assert (await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)).made is None
    third = await paid(environment)
    await seal(environment.ctx, "aigerim")
    before |= await entries(environment)
    environment.later(100 * DAY)
    made = (await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)).made
    assert made is not None
    assert made.seal == 4
    report = await verify(environment.ctx, all_seals=True, archives=tmp_path)
    assert (report.findings, report.archives, report.seals) == ([], 2, 4)
    assert report.entries == len(before) + 2
    assert (await verify(environment.ctx, third.view.payment_id)).is_sound


@pytest.mark.parametrize("at", ["write", "record", "read", "cut"])
async def test_killed_in_the_middle_nothing_is_lost(
    environment: ServiceEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    await old(environment)
    await paid(environment)
    await seal(environment.ctx, "aigerim")
    environment.later(100 * DAY)
    before = await entries(environment)
    calls = 0

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    async def killed_at_the_second(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        await files_cut(*given)

    files_cut = files.cut
    monkeypatch.setattr(audit_archive, "BATCH", 1)
    with monkeypatch.context() as during:
        if at == "write":
            during.setattr(files.Writer, "close", killed)
        elif at == "record":
            during.setattr(audit_archive.audit, "append", killed)
        elif at == "read":
            during.setattr(files, "lines", killed)
        else:
            during.setattr(files, "cut", killed_at_the_second)
        with pytest.raises(Killed):
            await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    report = await verify(environment.ctx, all_seals=True)
    assert report.findings == []
    half = await entries(environment)
    assert (len(half) < len(before)) is (at == "cut")
    again = await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert again.cut == len(half) - len(await entries(environment)) > 0
    assert (await verify(environment.ctx, all_seals=True, archives=tmp_path)).findings == []
    texts = "".join(path.read_text("utf-8") for path in tmp_path.glob("*.jsonl"))
    left = (await entries(environment)).values()
    assert [digest for digest in before.values() if digest not in left and digest not in texts] == []


async def test_a_changed_file_or_a_missing_one_is_noticed(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    made = await archived(environment, tmp_path)
    path = tmp_path / made.file
    whole = path.read_text("utf-8")
    for changed in (whole.replace("aigerim", "somebody"), whole.rsplit("\n", 3)[0] + "\n", ""):
        path.write_text(changed, "utf-8")
        with pytest.raises(ManualReviewRequired, match="was changed"):
            await verify(environment.ctx, archives=tmp_path)
    path.unlink()
    with pytest.raises(ManualReviewRequired, match="cannot be read"):
        await verify(environment.ctx, archives=tmp_path)


async def test_what_is_cut_without_an_archive_is_noticed(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    _, second = await old(environment)
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :p AND seq = 1",
              p=second.view.payment_id)  # fmt: skip
    assert Flaw.MISSING in [finding.flaw for finding in (await verify(environment.ctx)).findings]
    with pytest.raises(ManualReviewRequired, match="not intact"):
        await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert list(tmp_path.glob("*.jsonl*")) == []


async def test_an_entry_cut_after_the_archive_is_noticed(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    first, _ = await old(environment)
    made = await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert made.made is not None
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :p AND id <= :bound",
              p=first.view.payment_id, bound=made.made.last_entry_id)  # fmt: skip
    report = await verify(environment.ctx)
    assert {finding.flaw for finding in report.findings} == {Flaw.MISSING, Flaw.SEAL}


async def test_a_chain_that_is_gone_from_the_database_is_noticed(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    first, _ = await old(environment)
    await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    await environment.sql("DELETE FROM pay_audit_entry WHERE payment_id = :p", p=first.view.payment_id)
    report = await verify(environment.ctx, archives=tmp_path)
    assert Flaw.MISSING in [finding.flaw for finding in report.findings]


async def test_a_record_that_no_seal_bears_out_is_noticed(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    """One well-made entry must not switch the seals off for all that it claims to hold."""
    await old(environment)
    forged = files.Archive("audit-000009.jsonl", 9, "0" * 64, 0, 10**12, 5, "0" * 64)
    record = chain.AuditRecord(actor="x", source=CLERK.source, action=files.ARCHIVED, after=forged.full())
    async with environment.ctx.db.writing() as session:
        await chain.append(session, files.CHAIN, record, environment.now())
    report = await verify(environment.ctx)
    assert [finding.flaw for finding in report.findings] == [Flaw.SEAL]
    assert "does not agree with the seals" in report.findings[0].detail
    await environment.sql("DELETE FROM pay_audit_entry WHERE seq = 1 AND payment_id <> :own", own=files.CHAIN)
    assert len((await verify(environment.ctx)).findings) > 1


async def test_the_root_of_an_archived_seal_needs_the_archive(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    await old(environment)
    first, *_ = await environment.rows(AuditSeal)
    assert (await verify(environment.ctx, root=first.merkle_root)).is_sound
    await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert not (await verify(environment.ctx, root=first.merkle_root)).is_sound
    assert (await verify(environment.ctx, root=first.merkle_root, archives=tmp_path)).is_sound


async def test_nothing_is_cut_while_an_earlier_archive_is_elsewhere(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    await old(environment)
    await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    environment.later(100 * DAY)
    await seal(environment.ctx, "aigerim")
    environment.later(100 * DAY)
    before = await entries(environment)
    (tmp_path / "other").mkdir()
    with pytest.raises(ManualReviewRequired, match="cannot be read"):
        await archive(environment.ctx, tmp_path / "other", CLERK, keep=KEEP)
    assert await entries(environment) == before


async def test_a_file_of_another_audit_trail_stays(environment: ServiceEnvironment, tmp_path: Path) -> None:
    await old(environment)
    other = tmp_path / "audit-000002.jsonl"
    other.write_text('{"kind": "procomp-pay audit archive", "root": "another"}\n')
    with pytest.raises(Refused, match="not of this audit trail"):
        await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)
    assert "another" in other.read_text()


async def test_without_a_seal_there_is_nothing_to_archive(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    await environment.start()
    with pytest.raises(Refused, match="no seal"):
        await archive(environment.ctx, tmp_path, CLERK, keep=KEEP)


@pytest.mark.parametrize("after", ["'null'", "'{}'", "'[1]'", """'{"file": "audit-000001.jsonl"}'"""])
async def test_a_record_that_is_malformed_is_named(environment: ServiceEnvironment, after: str) -> None:
    await old(environment)
    record = chain.AuditRecord(actor="x", source=CLERK.source, action=files.ARCHIVED)
    async with environment.ctx.db.writing() as session:
        await chain.append(session, files.CHAIN, record, environment.now())
    await environment.sql(f"UPDATE pay_audit_entry SET after = {after} WHERE payment_id = '{files.CHAIN}'")
    with pytest.raises(ManualReviewRequired, match="record of an archive, entry 1"):
        await verify(environment.ctx)


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"payment_id": {}, "seq": 1}\n', b'{"payment_id"\n']
)
async def test_a_damaged_line_is_named(environment: ServiceEnvironment, tmp_path: Path, line: bytes) -> None:
    """It is read before the check of the whole file."""
    made = await archived(environment, tmp_path)
    path = tmp_path / made.file
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = line
    path.write_bytes(b"".join(lines))
    with pytest.raises(ManualReviewRequired, match=str(path)):
        await verify(environment.ctx, archives=tmp_path)


async def test_a_forged_file_of_the_right_sum_but_no_entry_is_named(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    """Record and file agree, and no entry can be read from the file's lines."""
    made = await archived(environment, tmp_path)
    path = tmp_path / made.file
    head, first, *rest = path.read_bytes().splitlines(keepends=True)
    fields = json.loads(first)
    del fields["at"]
    fields["more"] = 1
    whole = [head, json.dumps(fields).encode() + b"\n", *rest[:-1]]
    path.write_bytes(b"".join([*whole, rest[-1]]))
    after = made.full() | {"sha256": hashlib.sha256(b"".join(whole)).hexdigest()}
    await environment.sql("UPDATE pay_audit_entry SET after = :after WHERE payment_id = :own",
              after=json.dumps(after), own=files.CHAIN)  # fmt: skip
    with pytest.raises(ManualReviewRequired, match="cannot be read"):
        await verify(environment.ctx, archives=tmp_path)
