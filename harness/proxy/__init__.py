"""A control proxy: between clients and any control server it reads, records, holds, drops, reorders and rewrites."""
