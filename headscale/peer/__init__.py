"""Taking over the database of a Go headscale (the peer): read it, mend it, merge it with ours."""
