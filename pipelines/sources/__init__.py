"""Readers of the released face datasets: raw files in, samples out, nothing else."""
