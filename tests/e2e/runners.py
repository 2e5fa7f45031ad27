"""Runners of the tests' own on the lab, without a cache and without a shared daemon."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulumi
from gitlab_runner_k8s import RunnerPlatform

from lab import gitlab, images, up
from tests.e2e import stacks
from tests.required import needs_lab


def settings() -> Any:
    """Return the `runner` arguments of a platform on the lab: its images and its chart."""
    return {
        "image": images.reference("gitlab-runner"),
        "default_image": images.reference("docker"),
        "helper_image": images.reference("gitlab-runner-helper"),
        "chart": up.chart(),
        "pull_policy": "if-not-present",
    }


@contextmanager
def deployed(name: str, folder: Path) -> Iterator[None]:
    """Deploy a runner with a name of its own, in the namespaces `<name>-runner` and `<name>-jobs`.

    Its jobs are those that `lab.gitlab` is given for this name.
    """
    needs_lab()

    def program() -> None:
        RunnerPlatform(
            name,
            {
                "gitlab_url": gitlab.URL,
                "runner_token": pulumi.Output.secret(gitlab.runner_token(name)),
                "runner": settings(),
                "cache": {"backend": "none"},
                "namespaces": {"runner": f"{name}-runner", "jobs": f"{name}-jobs"},
                "network": {"allow_insecure_gitlab_url": True, "egress_cidrs": ["10.0.0.0/8"]},
            },
        )

    with stacks.deployed(program, name, folder):
        yield
