"""What each node is told: whole maps, the smallest messages after them, and the task that sends them."""
