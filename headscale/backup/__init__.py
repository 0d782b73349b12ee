"""One archive with everything that a server needs to go on as itself, and the way back from it."""
