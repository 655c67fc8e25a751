"""The shell every server shares: settings, server, interceptors, TLS, logs, metrics."""
