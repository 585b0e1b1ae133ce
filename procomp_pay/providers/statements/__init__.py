"""Read the providers' statements from files: Stripe's balance report, Kaspi Pay's exports.

Start at :func:`procomp_pay.providers.statements.reader.open_statement`.
"""
