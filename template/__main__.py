"""A GitLab runner on Kubernetes whose docker builds stay warm."""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

config = pulumi.Config()
label, _, value = config.require("dockerNodeLabel").partition("=")

platform = RunnerPlatform(
    "gitlab-runner",
    {
        "gitlab_url": config.require("gitlabUrl"),
        "runner_token": config.require_secret("runnerToken"),
        # Whoever can run a job is root on the daemon's nodes: give it nodes of its own.
        "docker_daemon": {"node_selector": {label: value}},
    },
)

for name, output in platform.outputs.items():
    pulumi.export(name, output)
