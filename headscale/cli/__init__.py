"""The command line: a module a noun, each a client of the API; `serve` starts the server."""
