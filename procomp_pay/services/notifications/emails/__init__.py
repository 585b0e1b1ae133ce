"""Letters to participants: what happened to their money, in Russian, Kazakh or English."""

from procomp_pay.services.notifications.emails.email import render_email

__all__ = ["render_email"]
