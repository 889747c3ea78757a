"""Grids of runs: what they consist of, how far they are, and what is left to do."""
