"""Trained models as files for other programs: each is written beside its preprocessing and checked before it stays."""
