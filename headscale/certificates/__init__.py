"""Certificates for nodes: the records by which a certificate authority sees that a name is a node's (ACME dns-01)."""
