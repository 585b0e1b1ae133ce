"""Commands about payouts to the bank."""
