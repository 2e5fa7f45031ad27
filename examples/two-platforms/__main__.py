"""Two platforms in one stack, for two GitLabs: each has a name and namespaces of its own."""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

config = pulumi.Config()

internal = RunnerPlatform(
    "internal",
    {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": config.require_secret("runnerToken"),
        "docker_daemon": {"node_selector": {"pool": "builders"}},
    },
)
# The namespaces have fixed defaults: a second platform names all that it uses.
partners = RunnerPlatform(
    "partners",
    {
        "gitlab_url": "https://gitlab.partners.example.com",
        "runner_token": config.require_secret("smallToken"),
        "docker_daemon": {"node_selector": {"pool": "partners"}},
        "namespaces": {
            "runner": "partners-runner",
            "jobs": "partners-runner-jobs",
            "cache": "partners-runner-cache",
            "daemon": "partners-runner-docker",
        },
    },
)
pulumi.export("docker_hosts", [internal.docker_host, partners.docker_host])
