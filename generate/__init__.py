"""Writes what follows from the settings: `python -m generate`."""
