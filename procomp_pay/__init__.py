"""procomp-pay: the payment desk of ProComp."""
