"""The policy language: text and records in, rules and complaints out, without I/O."""
