"""Rules for settings, by subject."""
