"""The topics of outbox messages: what has happened, and so whom it is told."""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """The topic of an outbox message: ``payment.*`` goes to the participant and the platform, ``letter.*`` to
    the participant alone, ``alert.*`` to the operators.
    """

    PAYMENT_RECEIVED = "payment.received"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_EXPIRED = "payment.expired"
    PAYMENT_REFUNDED = "payment.refunded"
    LETTER_RECEIPT = "letter.receipt"
    LETTER_REMINDER = "letter.reminder"
    LETTER_REPORT = "letter.report"
    ALERT_LATE = "alert.late_payment"
    ALERT_DUPLICATE = "alert.duplicate_payment"
    ALERT_AMOUNT = "alert.amount_mismatch"
    ALERT_PARTICIPANT = "alert.participant_mismatch"
    ALERT_REFUND = "alert.refund_failed"
    ALERT_DISPUTE = "alert.dispute"
    ALERT_STUCK = "alert.stuck"
    ALERT_DEAD_LETTER = "alert.dead_letter"
    ALERT_DISCREPANCY = "alert.discrepancy"
    ALERT_CIRCUIT = "alert.circuit_open"
    ALERT_CERTIFICATE = "alert.certificate_ends"
    ALERT_STALLED = "alert.stalled"
    ALERT_STATUS = "alert.status_mismatch"
    ALERT_UNAPPLIED = "alert.unapplied_money"
    ALERT_LABEL = "alert.unknown_label"
