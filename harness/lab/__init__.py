"""Networks as clients meet them outside: LANs behind routers of every kind of NAT, and what breaks on the way."""
