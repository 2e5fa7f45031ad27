"""Turns the engine's events of `pulumi preview` into what a merge request shows.

The template `templates/pulumi-preview` carries these modules in its own text: an include of a
component brings YAML alone, so nothing is downloaded, and both have one version by construction.
Only the standard library is used; `python -m preview --help` shows the command line.
"""
