"""Every component with the arguments that it needs, by name: for what holds for all of them."""

from typing import Any

import gitlab_runner_k8s as ci
import pulumi

TOKEN = "glrt-0123456789abcdefghij"
NODES: Any = {"node_selector": {"pool": "builders"}}

ARGUMENTS: dict[str, Any] = {
    "BuildKitDaemon": NODES,
    "ExternalCache": {
        "s3": {
            "bucket": "there",
            "region": "eu-central-1",
            "access_key": "access-0123",
            "secret_key": "secret-0123",
        }
    },
    "GitLabRunner": {"gitlab_url": "https://gitlab.example.com", "runner_token": TOKEN},
    "MinioCache": {"enable_tls": True},
    "RegistryMirror": {},
    "RunnerPlatform": {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": TOKEN,
        "docker_daemon": NODES,
        "registry_mirror": {},
    },
    "S3Cache": {
        "region": "eu-central-1",
        "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1",
        "allow_destroy": True,
    },
    "SharedDockerDaemon": NODES,
}
NAMES = sorted(component.__name__ for component in ci.COMPONENTS)


def make(
    component: str,
    name: str = "one",
    opts: pulumi.ResourceOptions | None = None,
    arguments: Any = None,
) -> pulumi.ComponentResource:
    """Declare a component."""
    made: pulumi.ComponentResource = getattr(ci, component)(
        name, arguments or ARGUMENTS[component], opts
    )
    return made


def is_ours(kind: str) -> bool:
    """Tell whether a type is one of the components."""
    return kind.startswith("gitlab-runner-k8s:")
