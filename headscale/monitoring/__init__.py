"""What an operator looks at: figures of a running server, for Prometheus, for people and for scripts."""
