"""What the tailnet is: an immutable snapshot, pure steps that change it, and the one writer that applies them."""
