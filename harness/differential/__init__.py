"""The same scenario on two control servers at once, and every difference named: `python -m harness.differential`."""
