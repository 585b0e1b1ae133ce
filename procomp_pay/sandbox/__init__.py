"""A Stripe and a Kaspi to run against, on this machine alone."""
