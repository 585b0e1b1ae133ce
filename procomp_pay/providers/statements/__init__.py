"""Statements of the providers as files: Stripe's balance report, Kaspi Pay's exports.

The door is :func:`procomp_pay.providers.statements.reader.open_statement`.
"""
