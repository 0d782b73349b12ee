"""What a server is told from outside its database, and follows while it runs: policy, relays, DNS records."""
