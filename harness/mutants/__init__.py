"""Servers with one mistake each, which the scenarios must notice: `python -m harness.mutants`, or `nox -s mutants`."""
