"""Check one chain, entry by entry."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from procomp_pay.domain.text import N_
from procomp_pay.services.audit.closings import ClosingRecord
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit.archive import CHAIN
from procomp_pay.storage.audit.chain import KEPT_BY_PLATFORM
from procomp_pay.storage.audit.erasure import Erasures
from procomp_pay.storage.audit.read import ChainEndRow, Link

if TYPE_CHECKING:
    from procomp_pay.storage.models.closing import ClosingDay

_NOTHING = Decimal("0.00")
_NOT_WHOLE = N_("its content does not match its hash")
_CHANGED_AFTER = N_("it was erased, and what is left of it was changed since")
_UNSIGNED = N_(
    "no encryption key of ours signed this record of an erasure: it is forged, the key is missing from "
    "ENCRYPTION_KEYS, or it is from before erasures were signed, and what it erased cannot be proven"
)


class Flaw(StrEnum):
    """A fault in a chain or a seal."""

    EDITED = "edited"  # the content does not match its hash
    MISSING = "missing"  # sequence numbers are missing
    BROKEN_LINK = "broken_link"  # it does not follow the previous entry: inserted or swapped
    DISAGREES = "disagrees"  # the last entry and the payment's row differ
    NO_CHAIN = "no_chain"  # a payment without any entry
    NO_PAYMENT = "no_payment"  # a chain whose payment was deleted
    SEAL = "seal"  # a seal does not match what it covers, or one is missing


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault and its place.

    :param payment_id: ``None`` for a seal, which covers all payments.
    :param seq: ``None`` if the fault is not in one entry.
    """

    payment_id: str | None
    flaw: Flaw
    seq: int | None
    detail: str


#: For the seals that end in a chain: its length and last hash at each of them, by the number of the seal.
Heads = dict[int, tuple[int, str]]


def note_head(heads: Heads, bounds: Sequence[int], link: Link) -> None:
    """Note an entry as the newest of its chain in the first seal that covers it.

    :param bounds: the last entry of each seal.
    """
    first = bisect_left(bounds, link.row_id)
    if first < len(bounds):
        heads[first] = link.seq, link.hash


@dataclass(slots=True)
class Chain:
    """A chain as far as it was read, with its last snapshot."""

    payment_id: str
    erasures: Erasures
    seq: int = 0
    hash: str = audit.GENESIS
    row_id: int = 0
    status: str | None = None
    refunded: Any = _NOTHING
    is_platforms: bool = False
    #: The newest id that may be missing here, because it is in an archive.
    archived_until: int = 0
    closing: ClosingRecord | None = None
    is_of_no_payment: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_of_no_payment = self.payment_id == CHAIN or self.payment_id.startswith(audit.OF_NO_PAYMENT)
        if self.payment_id.startswith(audit.CLOSING_CHAIN):
            self.closing = ClosingRecord()

    @property
    def is_plain(self) -> bool:
        """Return whether what was read of it is all that its end is compared with: no closing, no erasure."""
        return self.closing is None and not self.erasures.concern_any()

    def take(self, link: Link) -> list[Finding]:
        """Add the next entry, and return its faults."""
        findings = []
        entry = link.entry
        if self.seq == 0 and link.seq > 1 and link.row_id <= self.archived_until:
            pass  # the entries before it are in an archive
        elif link.seq != self.seq + 1:
            findings.append(
                self._flaw(
                    Flaw.MISSING,
                    link.seq,
                    N_("after entry %(before)s comes %(after)s", before=self.seq, after=link.seq),
                )
            )
        elif link.prev_hash != self.hash:
            findings.append(
                self._flaw(Flaw.BROKEN_LINK, link.seq, N_("it does not follow the previous entry"))
            )
        elif link.row_id <= self.row_id:
            findings.append(
                self._flaw(Flaw.BROKEN_LINK, link.seq, N_("it was written before the previous entry"))
            )
        if entry is None:
            findings.append(self._flaw(Flaw.EDITED, link.seq, _NOT_WHOLE))
        else:
            self.erasures.take(entry)
        self.seq, self.hash, self.row_id = link.seq, link.hash, link.row_id
        if entry is not None:
            if self.closing is not None:
                self.closing.take(entry)
            self.is_platforms = entry.action == KEPT_BY_PLATFORM or self.is_of_no_payment
        if entry is not None and isinstance(entry.after, dict):
            self.status = entry.after.get("status", self.status)
            # version 0.1.0 adopted refunded payments without writing down the sum
            default = None if entry.action == "adopted" and self.status == "REFUNDED" else self.refunded
            self.refunded = entry.after.get("refunded", default)
        return findings

    def end(self, row: ChainEndRow | None, day: ClosingDay | None = None) -> list[Finding]:
        """Return the differences between the chain's end and the row of the payment, or of the closing."""
        findings = [
            self._flaw(Flaw.EDITED, seq, _CHANGED_AFTER if seq in self.erasures.proven else _NOT_WHOLE)
            for seq in self.erasures.unproven()
        ]
        findings += [self._flaw(Flaw.EDITED, seq, _UNSIGNED) for seq in self.erasures.unsigned]
        if self.closing is not None:
            differences = [N_("its row, which was deleted")] if day is None else self.closing.differences(day)
            details = [
                N_("the closing is not as it was recorded: %(what)s", what=each) for each in differences
            ]
            return findings + [self._flaw(Flaw.DISAGREES, self.seq, detail) for detail in details]
        if row is None:
            if self.is_platforms:
                return findings  # no payment of ours, whatever became of it
            return [*findings, self._flaw(Flaw.NO_PAYMENT, None, N_("its payment was deleted"))]
        if self.status != row.status:
            detail = N_(
                "the last status in the audit trail is %(before)s, the payment is %(now)s",
                before=self.status,
                now=row.status,
            )
            findings.append(self._flaw(Flaw.DISAGREES, self.seq, detail))
        if self.refunded is not None and self.refunded != row.refunded:
            detail = N_(
                "refunded by the audit trail: %(before)s, by the payment: %(now)s",
                before=self.refunded,
                now=row.refunded,
            )
            findings.append(self._flaw(Flaw.DISAGREES, self.seq, detail))
        return findings

    def _flaw(self, flaw: Flaw, seq: int | None, detail: str) -> Finding:
        return Finding(self.payment_id, flaw, seq, detail)
