"""Load: many clients of ours against a control server in a process of its own, and the figures that people feel.

`python -m benchmarks.load --help`. What each figure means and how it is taken: docs/benchmarks.md.
"""
