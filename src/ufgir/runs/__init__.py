"""Runs: their folders, and their life from a configuration to results.json."""
