"""The evidence: speed of the parts and comparison with published numbers."""
