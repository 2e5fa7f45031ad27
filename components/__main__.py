"""Serve the components to Pulumi programs in other languages."""

import sys

from gitlab_runner_k8s.plugin import PluginProvider
from pulumi.provider import main

if __name__ == "__main__":
    main(PluginProvider(), sys.argv[1:])
