"""Pages that people see, and how they look."""
