"""REST v1, with the paths, field names and types of headscale 0.29 and 0.30."""
