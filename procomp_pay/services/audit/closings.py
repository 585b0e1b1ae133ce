"""Compare the closing of a day with its chain of the audit trail: what was signed, by whom, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from procomp_pay.domain.text import N_
from procomp_pay.storage.closing.repository import digest
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.closing import ClosingDay

_Signature = tuple[str, str, datetime, str]


@dataclass(slots=True)
class ClosingRecord:
    """A closing as the entries of its chain tell it, as far as they were read.

    :param is_whole: its first entry was read: it is not in an archive.
    """

    is_whole: bool = False
    begun: dict[str, Any] | None = None
    begun_by: str | None = None
    states: dict[str, str] = field(default_factory=dict)
    signatures: list[_Signature] = field(default_factory=list)
    closed_at: datetime | None = None

    def take(self, entry: AuditEntry) -> None:
        """Add the next entry."""
        after = entry.after if isinstance(entry.after, dict) else {}
        if entry.action == "closing_begun":
            self.is_whole, self.begun, self.begun_by = True, after, entry.actor
        elif entry.action == "closing_step":
            self.states[str(after.get("step"))] = str(after.get("state"))
        elif entry.action == "closing_skipped":
            self.states[str(after.get("step"))] = "skipped"
        elif entry.action == "closing_signed":
            dropped = after.get("no_longer_valid") or []
            self.signatures = [each for each in self.signatures if each[0] not in dropped]
            signature = (str(after.get("account")), entry.actor, entry.at, str(after.get("digest")))
            self.signatures.append(signature)
        elif entry.action == "closing_closed":
            self.closed_at = entry.at

    def differences(self, row: ClosingDay) -> list[str]:
        """Return how the closing's row differs; empty if it is as it was recorded."""
        found = []
        begun = {"day": row.day, "tournament_id": row.tournament_id or None, "zone": row.zone}
        if self.begun is not None and (begun, row.begun_by) != (self.begun, self.begun_by):
            found.append(N_("its day, tournament, time zone or who began it"))
        stored = {name: _word(record, "state") for name, record in _items(row.steps)}
        stored.pop("signatures", None)  # follows from the signatures
        if (stored if self.is_whole else {name: stored.get(name) for name in self.states}) != self.states:
            found.append(N_("the state of a step"))
        signatures = [_signature(each) for each in row.signatures if isinstance(each, dict)]
        if self.is_whole:
            differs = signatures != self.signatures or len(signatures) != len(row.signatures)
        else:
            differs = any(each not in signatures for each in self.signatures)
        if differs:
            found.append(N_("the signatures"))
        if (self.is_whole or self.signatures) and self._sums_differ(row):
            found.append(N_("the sums that were signed"))
        if (self.is_whole or self.closed_at is not None) and row.closed_at != self.closed_at:
            found.append(N_("when it was closed"))
        return found

    def _sums_differ(self, row: ClosingDay) -> bool:
        if not self.signatures:
            return row.sums is not None
        try:
            return row.sums is None or digest(row.sums) != self.signatures[-1][3]
        except (ValueError, TypeError):  # we could not have written it
            return True


def _items(document: Any) -> list[tuple[str, Any]]:
    return list(document.items()) if isinstance(document, dict) else []


def _word(document: Any, name: str) -> str:
    return str(document.get(name)) if isinstance(document, dict) else ""


def _signature(document: dict[str, Any]) -> _Signature | None:
    try:
        at = datetime.fromisoformat(str(document.get("at")))
    except ValueError:
        return None
    return _word(document, "account"), _word(document, "name"), at, _word(document, "digest")
