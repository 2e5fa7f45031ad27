"""Serves the components to Pulumi programs in other languages."""

from gitlab_runner_k8s import COMPONENTS, __version__
from gitlab_runner_k8s._meta import PACKAGE
from pulumi.provider.experimental import component_provider_host

if __name__ == "__main__":
    component_provider_host(COMPONENTS, name=PACKAGE, version=__version__)
