"""The Go program that runs inside every machine, and our end of its socket (`harness.agent.connection`)."""
