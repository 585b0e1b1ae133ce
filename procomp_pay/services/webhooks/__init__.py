"""Events from providers: receive, store, and apply each once; fetch those that never came."""
