"""Labels of the platform's enums that this version does not know."""

from __future__ import annotations


class UnknownLabel(str):
    """A label that the platform added to one of its enums: shown as it is, and left alone by every rule.

    It compares as text, and has what the members of our enums have.
    """

    __slots__ = ()

    @property
    def value(self) -> str:
        """The label, as in the database."""
        return str(self)

    @property
    def public_name(self) -> str:
        """The name in the API and at the terminal, as that of a payment method: ``cash``."""
        return self.lower()


#: What is read in place of NULL: a status or a currency that the platform does not have is not guessed.
NO_LABEL = UnknownLabel("unknown")
