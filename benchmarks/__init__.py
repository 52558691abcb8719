"""The evidence: what the method costs and what others published. Run with `python -m benchmarks`."""
