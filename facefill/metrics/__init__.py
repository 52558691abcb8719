"""Measures of quality with their conventions stated."""
