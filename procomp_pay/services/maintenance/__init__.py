"""Background work: its passes, retention, re-encryption, adoption, metrics, alerts about health."""
