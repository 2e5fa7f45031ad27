"""The component plugin in other languages: YAML by the engine, TypeScript by its compiler."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import engine, language
from lab.paths import BIN, ROOT
from tests.harness import token
from tests.required import missing

pytestmark = pytest.mark.engine
NATIVE = """
import pulumi
from gitlab_runner_k8s import RunnerPlatform

RunnerPlatform(
    "ci",
    {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": pulumi.Config().require_secret("runnerToken"),
        "docker_daemon": {"node_selector": {"pool": "builders"}, "volume_size": "200Gi"},
    },
)
"""


@pytest.fixture(autouse=True)
def built() -> None:
    for name in ("pulumi-language-yaml", "pulumi-gen-nodejs"):
        if not (BIN / name).exists():
            missing(f"{name} is not built (python -m lab languages)")


def done(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    result = engine.cli(folder, environment, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def yaml_project(folder: Path) -> Path:
    text = (ROOT / "examples/yaml/Pulumi.yaml").read_text()
    (folder / "Pulumi.yaml").write_text(text.replace("../../components", str(ROOT / "components")))
    return folder


def resources(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return what is in the state, by URN without project and stack."""
    exported = json.loads(done(folder, environment, "stack", "export"))
    return {
        made["urn"].split("::", 2)[2]: made
        for made in exported["deployment"]["resources"]
        if not made["type"].startswith("pulumi:")
    }


def test_the_engine_constructs_a_component_for_a_yaml_program(
    tmp_path: Path, kept: dict[str, str]
) -> None:
    consumer, native = tmp_path / "yaml", tmp_path / "native"
    for folder in (consumer, native):
        folder.mkdir()
    yaml_project(consumer)
    (native / "__main__.py").write_text(NATIVE)
    settings = yaml.safe_load((consumer / "Pulumi.yaml").read_text())
    settings["config"].pop("runnerToken")
    (native / "Pulumi.yaml").write_text(
        yaml.safe_dump({"name": "native", "runtime": "python", "config": settings["config"]})
    )
    secret = token()
    for folder in (consumer, native):
        done(folder, kept, "stack", "init", "test")
        done(folder, kept, "config", "set", "--secret", "runnerToken", secret)
        said = done(folder, kept, "up", "--yes", "--skip-preview")
        assert secret not in said
        (state,) = folder.glob(".state/.pulumi/stacks/*/test.json")
        assert secret not in state.read_text()
    by_plugin, by_import = resources(consumer, kept), resources(native, kept)
    # A program may move from one way to the other: nothing is replaced.
    assert sorted(by_plugin) == sorted(by_import)
    release = by_plugin[
        "gitlab-runner-k8s:index:RunnerPlatform$gitlab-runner-k8s:index:GitLabRunner$"
        "kubernetes:helm.sh/v3:Release::ci-runner-release"
    ]
    assert release["inputs"]["name"] == "ci"
    outputs = json.loads(done(consumer, kept, "stack", "output", "--json"))
    assert outputs == {
        "dockerHost": "tcp://ci-docker.gitlab-runner-docker.svc.cluster.local:2376",
        "releaseName": "ci",
    }
    again = json.loads(done(consumer, kept, "preview", "--json"))
    assert set(again["changeSummary"]) == {"same"}


def test_a_mistake_in_a_yaml_program_is_named(tmp_path: Path, kept: dict[str, str]) -> None:
    yaml_project(tmp_path)
    path = tmp_path / "Pulumi.yaml"
    path.write_text(path.read_text().replace("volumeSize: 200Gi", "volumeSize: 200 gigabytes"))
    done(tmp_path, kept, "stack", "init", "test")
    done(tmp_path, kept, "config", "set", "--secret", "runnerToken", token())
    result = engine.cli(tmp_path, kept, "preview")
    assert result.returncode != 0
    assert "volume_size" in result.stdout
    assert "200 gigabytes" in result.stdout


@pytest.fixture
def typescript(tmp_path: Path, kept: dict[str, str]) -> Path:
    """Return a copy of the TypeScript example with its SDK, generated of what the engine reads."""
    if not (language.NODE / "node_modules/.ready").exists():
        missing("the packages of the TypeScript example are not there (python -m lab languages)")
    folder = tmp_path / "typescript"
    shutil.copytree(ROOT / "examples/typescript", folder)
    schema = tmp_path / "schema.json"
    schema.write_text(done(tmp_path, kept, "package", "get-schema", str(ROOT / "components")))
    sdk = folder / "node_modules/@pulumi/gitlab-runner-k8s"
    for package in (language.NODE / "node_modules").iterdir():
        if package.name != "@pulumi":
            (folder / "node_modules").mkdir(exist_ok=True)
            (folder / "node_modules" / package.name).symlink_to(package)
    for package in (language.NODE / "node_modules/@pulumi").iterdir():
        (folder / "node_modules/@pulumi").mkdir(exist_ok=True)
        (folder / "node_modules/@pulumi" / package.name).symlink_to(package)
    subprocess.run([BIN / "pulumi-gen-nodejs", schema, sdk], check=True)
    # npm takes the package's types from its sources: it is built when it is installed.
    manifest = json.loads((sdk / "package.json").read_text())
    (sdk / "package.json").write_text(json.dumps({**manifest, "types": "index.ts"}))
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", language.NODE / "node_modules/typescript/bin/tsc", "--pretty", "false", "-p", "."],
        cwd=folder,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_the_typescript_example_has_the_plugins_types(typescript: Path) -> None:
    checked = check(typescript)
    assert checked.returncode == 0, checked.stdout
    program = typescript / "index.ts"
    program.write_text(program.read_text().replace("concurrent: 8", 'concurrent: "eight"'))
    wrong = check(typescript)
    assert wrong.returncode != 0
    assert "'string' is not assignable to type 'number" in wrong.stdout
