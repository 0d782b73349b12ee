"""The server's own certificate from an ACME authority such as Let's Encrypt: obtained, kept, renewed."""
