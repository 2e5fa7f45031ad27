"""`make up`: everything from nothing to a running platform, and what it needs around it."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from gitlab_runner_k8s import _pins
from pulumi import automation as auto

from lab import cluster, engine, gitlab, images, packages, registry, toolchain
from lab.console import LabError, say, step
from lab.paths import BIN, KUBECONFIG, ROOT, STATE
from lab.providers import helm

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
    runner["helperImage"] = images.reference("docker")
    runner["chart"] = chart()
    config[f"{PROJECT}:cache"]["minio"]["image"] = images.reference("minio")
    config[f"{PROJECT}:dockerDaemon"]["image"] = images.reference("docker")
    return settings


def chart() -> dict[str, Any]:
    """Return where the runner's chart is: GITLAB_RUNNER_CHART, GitLab's own, or the stand-in.

    The variable names a folder, an archive or an OCI reference; `name=repository` names a chart
    of a repository. Without it the choice is made once, so that the next update changes nothing.
    """
    wanted = os.environ.get("GITLAB_RUNNER_CHART")
    if wanted:
        name, _, repository = wanted.partition("=")
        return {"chart": name, "repository": repository or None}
    chosen = STATE / "chart.json"
    if not chosen.exists():
        official = {"chart": _pins.CHART_NAME, "repository": _pins.CHART_REPOSITORY}
        stand_in = {"chart": str(ROOT / "lab/chart/gitlab-runner"), "repository": None}
        reached = helm.finds({**official, "version": _pins.CHART_VERSION})
        chosen.write_text(json.dumps(official if reached else stand_in))
    named: dict[str, Any] = json.loads(chosen.read_text())
    return named


def write_workspace(changes: dict[str, Any] | None = None) -> Path:
    """Write the project's file and the stack's, where the engine may write too.

    Args:
        changes: Configuration to set beside, or in place of, that of the stack's file.
    """
    stacks = WORKSPACE / "stacks"
    stacks.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "Pulumi.yaml", WORKSPACE / "Pulumi.yaml")
    target = stacks / f"Pulumi.{STACK}.yaml"
    kept = yaml.safe_load(target.read_text()) if target.exists() else {}
    settings = _settings()
    settings["config"] |= changes or {}
    # The engine keeps the salt of the secrets' encryption there.
    if "encryptionsalt" in kept:
        settings["encryptionsalt"] = kept["encryptionsalt"]
    target.write_text(yaml.safe_dump(settings))
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
            "'pulumi up --stack dev' (README, \"Point it at your cluster\"); for the lab, unset it"
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
    mode = engine.provider_mode()
    shown = chart()["chart"].replace(str(ROOT / "lab/chart/gitlab-runner"), "stand-in")
    say(f"platform (stack {STACK}; providers: {_MODES[mode]}; chart: {shown}; runner: stand-in)")
    with engine.providers(mode, KUBECONFIG) as environment:
        stack = select(environment)
        with step("pulumi up"):
            result = stack.up(on_output=_show_line, color="never")
        say(f"  changes: {summary(result)}")
        say("outputs")
        show_outputs(stack)
    say(f"\nready: export KUBECONFIG={KUBECONFIG}, kubectl is in {BIN}")


_MODES = {"plugin": "the real plugins", "standin": "stand-ins"}


def _show_line(line: str) -> None:
    # What is done to resources and what went wrong; the rest stands in the outputs.
    if any(word in line for word in (" created", " updated", " deleted", " replaced", "error")):
        print(f"    {line.strip()[:160]}", file=sys.stdout, flush=True)
