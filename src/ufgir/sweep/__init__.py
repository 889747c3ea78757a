"""Grids of runs: their runs, the progress, and what is left to do."""
