"""The pages behind a client's "Admin console": people see their devices there, and administrators everybody's."""
