"""The stand-in's server. It needs nothing but Python and git, and runs as `python3 -m server`."""
