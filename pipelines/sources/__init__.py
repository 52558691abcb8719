"""Readers of face data sets: raw files in, samples out, nothing else.

A new one is a file with a `records.Source`, its line in `table.py`, and a test.
"""
