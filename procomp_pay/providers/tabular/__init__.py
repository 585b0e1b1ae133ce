"""Read CSV and XLSX files as rows of cells, whatever program saved them.

Statements (:mod:`procomp_pay.providers.statements`) and lists of participants
(:mod:`procomp_pay.services.registrations.file`) are both read with it. A file that can be understood in two
ways is refused.
"""
