"""Settlement: apply payment events. ``apply`` is the only module that changes the status of a payment."""
