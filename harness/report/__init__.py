"""What a run tells people: a page for each failure, a line for each scenario, and the matrix of all of them."""
