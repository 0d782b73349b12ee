"""A control server that somebody else runs, by its URL and its REST v2: the hosted service, or any that speaks it."""
