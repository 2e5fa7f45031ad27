"""The schema that the plugin serves: `python -m tests.schema` writes the golden copy."""

import json
import sys
from typing import Any

import gitlab_runner_k8s as package
from pulumi.provider.experimental.component import ComponentProvider

from lab.paths import ROOT

GOLDEN = ROOT / "components/schema.json"
COMPONENTS = [
    package.GitLabRunner,
    package.MinioCache,
    package.RunnerPlatform,
    package.S3Cache,
    package.SharedDockerDaemon,
]


def provider() -> ComponentProvider:
    """Return the provider that the plugin's host serves."""
    return ComponentProvider(
        COMPONENTS,
        "gitlab-runner-k8s",
        version=package.__version__,
    )


def current() -> dict[str, Any]:
    """Return the schema of the components as they are."""
    schema: dict[str, Any] = json.loads(provider().schema or "{}")
    return schema


if __name__ == "__main__":
    text = json.dumps(current(), indent=2, sort_keys=True) + "\n"
    GOLDEN.write_text(text)
    sys.stdout.write(f"wrote {GOLDEN}\n")
