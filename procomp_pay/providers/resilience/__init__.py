"""What surrounds every call of a provider: retries, circuit breaker, rate limit, timing."""
