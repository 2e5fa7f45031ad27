"""The stacks' files as the engine hands them over, with tokens that are found nowhere else."""

import json
from pathlib import Path
from typing import Any

import yaml

from stacks import settings
from tests.harness import token

STACKS = Path(__file__).parents[1] / "stacks"
NAMES = sorted(path.stem.removeprefix("Pulumi.") for path in STACKS.glob("Pulumi.*.yaml"))
ENVIRONMENTS = [name for name in NAMES if name != "local"]
PREFIX = "gitlab-runner-k8s:"


def read(name: str) -> dict[str, Any]:
    """Return the project's settings in a stack's file, without the project's name."""
    config = yaml.safe_load((STACKS / f"Pulumi.{name}.yaml").read_text())["config"]
    values = {
        key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)
    }
    if name == "local":
        # Only the lab knows the digest of the image that it built.
        values["cache"]["minio"]["image"] = f"lab.invalid/minio:1@sha256:{'0' * 64}"
    return values


def tokens(name: str) -> dict[str, str]:
    """Return the secrets that a stack's file asks for."""
    fleets = read(name).get("fleets", {})
    return {f"fleets.{fleet}.runnerToken": token() for fleet in fleets} or {"runnerToken": token()}


def arguments(name: str, secrets: dict[str, str]) -> Any:
    """Return the platform's arguments from a stack's file and its secrets."""
    values = read(name)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }
    return settings.parse({**texts, **secrets}, secrets, name, values)
