"""HTTP: connections, access control, rate limits, proxies, errors."""
