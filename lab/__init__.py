"""A one-node Kubernetes, built from package registries, to try the platform and test it.

Nothing under `components/` or in `__main__.py` knows of it.
"""
