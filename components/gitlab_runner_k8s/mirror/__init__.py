"""The registry mirror."""
