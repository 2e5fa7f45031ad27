"""Serves the components to Pulumi programs in other languages."""

from gitlab_runner_k8s import (
    GitLabRunner,
    MinioCache,
    RunnerPlatform,
    S3Cache,
    SharedDockerDaemon,
    __version__,
)
from pulumi.provider.experimental import component_provider_host

COMPONENTS = [GitLabRunner, MinioCache, RunnerPlatform, S3Cache, SharedDockerDaemon]

if __name__ == "__main__":
    component_provider_host(COMPONENTS, name="gitlab-runner-k8s", version=__version__)
