"""The embedded default: a one-node Kubernetes, built from package registries, to try and test on.

Nothing under `components/` or in `__main__.py` knows of it.
"""
