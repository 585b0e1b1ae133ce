"""Letters to participants: what happened to their money, in Russian, Kazakh or English."""

from procomp_pay.payments.letters.letter import write

__all__ = ["write"]
