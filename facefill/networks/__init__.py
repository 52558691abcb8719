"""The five networks of the paper (supplementary, Tables 3-7)."""
