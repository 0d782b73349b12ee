"""The administrators' API: a folder a version, a module a noun."""
