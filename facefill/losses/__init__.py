"""Loss terms of the paper, pure functions (supplementary 4.2)."""
