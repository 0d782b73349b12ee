"""Finds out what is wrong with a server, its configuration and the way to it, and says what to do."""
