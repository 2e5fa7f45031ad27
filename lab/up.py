"""`make up`: build the tools, start the cluster and deploy the platform."""

import json
import os
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation as auto

from lab import cluster, engine, gitlab, images, packages, registry, toolchain
from lab.chart_source import STAND_IN
from lab.chart_source import chart as chart
from lab.console import LabError, say, step
from lab.paths import BIN, KUBECONFIG, ROOT, STATE, replace

STACK = "local"
PROJECT = "gitlab-runner-k8s"
WORKSPACE = STATE / "workspace"


def _settings() -> dict[str, Any]:
    """Return the stack's file with what only this machine knows: images and chart."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / f"stacks/Pulumi.{STACK}.yaml").read_text())
    config = settings["config"]
    runner = config[f"{PROJECT}:runner"]
    runner["image"] = images.reference("gitlab-runner")
    runner["defaultImage"] = images.reference("docker")
    runner["helperImage"] = images.reference("gitlab-runner-helper")
    runner["chart"] = chart()
    config[f"{PROJECT}:cache"]["minio"]["image"] = images.reference("minio")
    config[f"{PROJECT}:dockerDaemon"]["image"] = images.reference("docker")
    return settings


def write_workspace(changes: dict[str, Any] | None = None) -> Path:
    """Write the project's file and the stack's, where the engine may write too.

    Args:
        changes: Configuration to set beside, or in place of, that of the stack's file.
    """
    replace(WORKSPACE / "Pulumi.yaml", (ROOT / "Pulumi.yaml").read_text())
    settings = _settings()
    settings["config"] |= changes or {}
    # The engine writes the salt of the secrets' encryption into the file, and into the state. An
    # interruption may leave half of the file, never of the state.
    if salt := engine.salt(STACK, PROJECT):
        settings["encryptionsalt"] = salt
    replace(WORKSPACE / f"stacks/Pulumi.{STACK}.yaml", yaml.safe_dump(settings))
    return WORKSPACE


def select(environment: dict[str, str], changes: dict[str, Any] | None = None) -> auto.Stack:
    """Return the stack of the repository's own program, configured for the lab."""
    stack = engine.select_stack(
        STACK,
        engine.program_of(ROOT / "__main__.py"),
        write_workspace(changes),
        PROJECT,
        environment,
    )
    token = auto.ConfigValue(gitlab.runner_token(), secret=True)
    stack.set_config("runnerToken", token)
    return stack


def summary(result: auto.UpResult) -> str:
    """Return the changes of an update in one line."""
    changes = result.summary.resource_changes or {}
    parts = [f"{count} {name}" for name, count in sorted(changes.items())]
    return ", ".join(parts) or "nothing"


def show_outputs(stack: auto.Stack) -> None:
    """Print the stack's outputs; secrets stay hidden."""
    outputs = stack.outputs()
    width = max(len(name) for name in outputs)
    for name, value in sorted(outputs.items()):
        shown = "[secret]" if value.secret else value.value
        say(f"  {name:<{width}}  {shown if isinstance(shown, str) else json.dumps(shown)}")


def _refuse_another_cluster() -> None:
    given = os.environ.get("KUBECONFIG")
    if given and Path(given).resolve() != KUBECONFIG:
        raise LabError(
            f"KUBECONFIG is {given}: the lab would not use that cluster. To deploy there, run "
            "'pulumi up --stack dev' (README, \"Use it on your cluster\"); for the lab, unset it"
        )


def up() -> None:
    """Bring up tools, cluster, surroundings and platform; each is kept if it is there."""
    _refuse_another_cluster()
    say("tools")
    packages.ensure()
    toolchain.ensure()
    images.build_all()
    say("cluster")
    cluster.up()
    registry.up()
    gitlab.up()
    shown = chart()["chart"].replace(str(STAND_IN), "stand-in")
    say(f"platform (stack {STACK}; chart: {shown})")
    # An object that a killed update made has another owner of its fields than the state says.
    stack = select({**engine.environment(), "PULUMI_K8S_ENABLE_PATCH_FORCE": "true"})
    engine.recover(stack, PROJECT)
    recover_releases("gitlab-runner")
    with step("pulumi up"):
        result = engine.update(stack)
    say(f"  changes: {summary(result)}")
    say("outputs")
    show_outputs(stack)
    say(f"\nready: export KUBECONFIG={KUBECONFIG}, kubectl is in {BIN}")


def recover_releases(namespace: str) -> None:
    """Delete revisions that a killed update left half made: Helm would refuse each later update."""
    states = "pending-install,pending-upgrade,pending-rollback"
    selector = f"owner=helm,status in ({states})"
    cluster.kubectl("-n", namespace, "delete", "secret", "-l", selector)
