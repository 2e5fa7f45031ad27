"""Declare the platform of the current stack from its settings, and export its outputs."""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

from stacks import settings

platform = RunnerPlatform(settings.NAME, settings.load())

for name, value in platform.outputs.items():
    pulumi.export(name, value)
pulumi.export(
    "how_to_verify",
    pulumi.Output.concat(
        "kubectl -n ",
        platform.runner_namespace,
        " wait --for=condition=Available deployment --all",
        " && run a job with 'docker build' twice: the second prints CACHED",
    ),
)
