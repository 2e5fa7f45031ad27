"""Kubernetes objects that several components declare in the same way."""
