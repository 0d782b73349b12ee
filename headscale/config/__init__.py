"""What the operator decides: a file and the environment become frozen settings, or all the complaints at once."""
