"""What happens in the tailnet, told to other programs: events, and how they get there."""
