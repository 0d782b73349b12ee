"""REST v2: the hosted service's API, so that its clients work here unchanged."""
