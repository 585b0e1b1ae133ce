"""Reconciliation with the providers: reconcile, discrepancies, statement."""
