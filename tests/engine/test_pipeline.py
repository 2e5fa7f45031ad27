"""What the pipeline's jobs rely on: drift fails the job, and a renewal deploys no new commit."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import engine
from lab.paths import ROOT
from lab.providers.__main__ import serve
from lab.providers.base import Call, Properties, Provider
from lab.providers.kept import KeptObject

pytestmark = pytest.mark.engine

PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s
k8s.core.v1.ConfigMap("one", metadata={{"name": "one", "namespace": "ci"}}, data={{"v": "{value}"}})
"""
DRIFT = ["refresh", "--preview-only", "--expect-no-changes", "--diff"]


class Changing(KeptObject):
    """Stand-in for an object that somebody may change behind Pulumi's back."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: Properties = {}

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return the object as it is now."""
        return {**inputs, **self.changed}, {**outputs, **self.changed}


@pytest.fixture
def live(kept: dict[str, str]) -> Iterator[tuple[Changing, dict[str, str]]]:
    """Yield the object in the cluster, and the environment of a provider that reads it."""
    config_map = Changing()
    server, port = serve(Provider("kubernetes", {"kubernetes:core/v1:ConfigMap": config_map}))
    yield config_map, {**kept, "PULUMI_DEBUG_PROVIDERS": f"kubernetes:{port}"}
    server.stop(grace=2)


def git(project: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=project, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(project: Path, value: str) -> str:
    """Commit a version of the program; return the commit."""
    (project / "__main__.py").write_text(PROGRAM.format(value=value))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", value)
    return git(project, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: pipeline\nruntime: python\n")
    (tmp_path / ".gitignore").write_text(".state/\n__pycache__/\n")
    git(tmp_path, "init", "--quiet")
    return tmp_path


def pulumi(project: Path, environment: dict[str, str], *arguments: str) -> str:
    done = engine.cli(project, environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_drift_fails_the_job(project: Path, live: tuple[Changing, dict[str, str]]) -> None:
    config_map, environment = live
    commit(project, "first")
    pulumi(project, environment, "stack", "init", "prod")
    pulumi(project, environment, "up", "--yes")
    pulumi(project, environment, *DRIFT)
    config_map.changed = {"data": {"v": "changed by hand"}}
    before = pulumi(project, environment, "stack", "export")
    done = engine.cli(project, environment, *DRIFT)
    assert done.returncode != 0
    assert "changed by hand" in done.stdout
    assert pulumi(project, environment, "stack", "export") == before


def checkout(project: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / ".ci/checkout-deployed"), "prod"],
        cwd=project,
        env=engine.cli_environment(project, environment),
        capture_output=True,
        text=True,
    )


def test_a_renewal_deploys_no_new_commit(
    project: Path, live: tuple[Changing, dict[str, str]]
) -> None:
    _, environment = live
    pulumi(project, environment, "stack", "init", "prod")
    first = commit(project, "first")
    never = checkout(project, environment)
    assert never.returncode != 0
    assert "was never updated from a commit" in never.stderr
    pulumi(project, environment, "up", "--yes")
    waiting = commit(project, "waits for a hand")
    done = checkout(project, environment)
    assert done.returncode == 0, done.stderr
    assert git(project, "rev-parse", "HEAD") == first != waiting
    pulumi(project, environment, "up", "--yes", "--expect-no-changes")
    # What failed was not deployed.
    git(project, "checkout", "--quiet", waiting)
    (project / "__main__.py").write_text("raise SystemExit(1)\n")
    git(project, "commit", "--quiet", "--all", "--message", "broken")
    assert engine.cli(project, environment, "up", "--yes").returncode != 0
    assert checkout(project, environment).returncode == 0
    assert git(project, "rev-parse", "HEAD") == first
