"""The engine runs the policy pack: what it lets through, what it stops, and how it says so."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lab import engine
from lab.paths import ROOT
from tests.harness import token
from tests.required import missing

pytestmark = pytest.mark.engine
ENVIRONMENT = ROOT / ".cache/policy-venv"
PRIVILEGED = """
import pulumi_kubernetes as kubernetes

kubernetes.core.v1.Pod(
    "builder",
    metadata={"name": "builder", "namespace": "jobs"},
    spec={
        "containers": [
            {
                "name": "docker",
                "image": "registry.example.com/docker:29@sha256:" + "0" * 64,
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "security_context": {"privileged": True},
            }
        ]
    },
)
"""
BUCKET = """
import pulumi_aws as aws

aws.s3.Bucket("cache", bucket="cache")
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Return a copy of the pack with its virtual environment, as its README makes it."""
    if not (ENVIRONMENT / ".ready").exists():
        missing("the policy pack's environment is not there (make policy)")
    folder = tmp_path / "policy"
    shutil.copytree(ROOT / "policy", folder, ignore=shutil.ignore_patterns("venv", "__pycache__"))
    (folder / "venv").symlink_to(ENVIRONMENT)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: policy-test\nruntime: python\n")
    return folder


def run(folder: Path, environment: dict[str, str], *arguments: str) -> CompletedProcess[str]:
    if not (folder / ".state").exists():
        assert engine.cli(folder, environment, "stack", "init", "dev").returncode == 0
    return engine.cli(folder, environment, *arguments)


def test_the_repositorys_own_program_violates_nothing(
    project: Path, pack: Path, kept: dict[str, str]
) -> None:
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "stacks", project / "stacks")
    done = run(project, kept, "config", "set", "--secret", "runnerToken", token())
    assert done.returncode == 0, done.stderr
    # A first preview does not know every value: the engine says which rules must wait.
    done = run(project, kept, "preview", "--policy-pack", str(pack))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[mandatory]" not in done.stdout
    done = run(project, kept, "up", "--yes", "--skip-preview", "--policy-pack", str(pack))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✅ gitlab-runner-k8s" in done.stdout
    assert "[mandatory]" not in done.stdout
    assert "[advisory]" not in done.stdout


def test_an_update_that_violates_a_rule_is_stopped(
    project: Path, pack: Path, kept: dict[str, str]
) -> None:
    (project / "__main__.py").write_text(PRIVILEGED)
    done = run(project, kept, "up", "--yes", "--policy-pack", str(pack))
    assert done.returncode != 0
    assert "no-privilege" in done.stdout
    assert "container 'docker' in 'jobs' is privileged" in done.stdout
    exported = json.loads(run(project, kept, "stack", "export").stdout)
    kinds = [made["type"] for made in exported["deployment"].get("resources", [])]
    assert "kubernetes:core/v1:Pod" not in kinds


def test_configuration_of_the_pack_reaches_its_rules(
    project: Path, pack: Path, kept: dict[str, str]
) -> None:
    (project / "__main__.py").write_text(PRIVILEGED)
    settings = project / "policies.json"
    settings.write_text(json.dumps({"no-privilege": {"namespaces": ["jobs"]}}))
    options = ("--policy-pack", str(pack), "--policy-pack-config", str(settings))
    done = run(project, kept, "preview", *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_about_the_whole_stack_sees_every_resource(
    project: Path, pack: Path, kept: dict[str, str]
) -> None:
    (project / "__main__.py").write_text(BUCKET)
    done = run(project, kept, "preview", "--policy-pack", str(pack))
    assert done.returncode != 0
    assert "bucket-has-a-block" in done.stdout
    assert "the bucket 'cache' has no BucketPublicAccessBlock" in done.stdout


def test_a_pack_that_cannot_start_says_why(project: Path, pack: Path, kept: dict[str, str]) -> None:
    (project / "__main__.py").write_text(BUCKET)
    (pack / "pack.py").write_text("raise ValueError('a mistake in the pack')\n")
    done = run(project, kept, "preview", "--policy-pack", str(pack))
    assert done.returncode != 0
    assert "a mistake in the pack" in done.stdout + done.stderr
