"""Programs in YAML and TypeScript use the component plugin, each by Pulumi's own language host."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import cluster, engine, gitlab, images, language, up
from lab.paths import BIN, ROOT
from tests.harness import token
from tests.required import missing, needs_lab

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
TSC = language.NODE / "node_modules/.bin/tsc"
TYPESCRIPT_NAMESPACES = ("builds", "builds-jobs", "builds-docker")
INSECURE = {"allowInsecureGitlabUrl": True}
EGRESS = {"egressCidrs": ["10.0.0.0/8"]}
SMALL = {"cpuRequest": "50m", "cpuLimit": "2", "memoryRequest": "128Mi", "memoryLimit": "1Gi"}


@pytest.fixture(autouse=True)
def built() -> None:
    for name in ("pulumi-language-yaml", "pulumi-language-nodejs", "pulumi-gen-nodejs"):
        if not (BIN / name).exists():
            missing(f"{name} is not built (python -m lab languages)")


def done(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    result = engine.cli(folder, environment, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def at_its_place(folder: Path) -> None:
    """Let a copy of an example find the component plugin."""
    path = folder / "Pulumi.yaml"
    path.write_text(path.read_text().replace("../../components", str(ROOT / "components")))


def yaml_project(folder: Path) -> Path:
    shutil.copy(ROOT / "examples/yaml/Pulumi.yaml", folder)
    at_its_place(folder)
    return folder


def resources(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return what is in the state, by URN without project and stack."""
    exported = json.loads(done(folder, environment, "stack", "export"))
    return {
        made["urn"].split("::", 2)[2]: made
        for made in exported["deployment"].get("resources", [])
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


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, kept: dict[str, str]) -> Path:
    """Return the packages of the TypeScript example, as `pulumi install` leaves them."""
    if not (language.NODE / "node_modules/.ready").exists():
        missing("the packages of the TypeScript example are not there (python -m lab languages)")
    folder = tmp_path_factory.mktemp("packages")
    modules = folder / "node_modules"
    (modules / "@pulumi").mkdir(parents=True)
    for package in (language.NODE / "node_modules").glob("*"):
        if package.name != "@pulumi":
            (modules / package.name).symlink_to(package)
    (modules / "@pulumi/pulumi").symlink_to(language.NODE / "node_modules/@pulumi/pulumi")
    # The SDK is generated from the schema that the engine reads; its own script compiles it.
    schema = folder / "schema.json"
    schema.write_text(done(folder, kept, "package", "get-schema", str(ROOT / "components")))
    sdk = modules / "@pulumi/gitlab-runner-k8s"
    subprocess.run([BIN / "pulumi-gen-nodejs", schema, sdk], check=True)
    path = os.pathsep.join((str(TSC.parent), os.environ["PATH"]))
    script = ["node", "scripts/postinstall.js"]
    subprocess.run(script, cwd=sdk, env={**os.environ, "PATH": path}, check=True)
    return modules


@pytest.fixture
def typescript(tmp_path: Path, packages: Path) -> Path:
    """Return a copy of the TypeScript example with its packages."""
    folder = tmp_path / "typescript"
    shutil.copytree(ROOT / "examples/typescript", folder)
    at_its_place(folder)
    (folder / "node_modules").symlink_to(packages)
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TSC, "--pretty", "false", "-p", "."],
        cwd=folder,
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


def test_the_engine_constructs_components_for_a_typescript_program(
    typescript: Path, kept: dict[str, str]
) -> None:
    secret = token()
    done(typescript, kept, "stack", "init", "test")
    done(typescript, kept, "config", "set", "--secret", "runnerToken", secret)
    assert secret not in done(typescript, kept, "up", "--yes", "--skip-preview")
    outputs = json.loads(done(typescript, kept, "stack", "output", "--json"))
    assert outputs == {
        "dockerHost": "tcp://builds.builds-docker.svc.cluster.local:2376",
        "releaseName": "builds",
    }
    again = json.loads(done(typescript, kept, "preview", "--json"))
    assert set(again["changeSummary"]) == {"same"}


@pytest.mark.lab
def test_the_yaml_example_runs_on_the_lab(tmp_path: Path) -> None:
    needs_lab()
    yaml_project(tmp_path)
    path = tmp_path / "Pulumi.yaml"
    project = yaml.safe_load(path.read_text())
    project["resources"]["ci"]["properties"] |= {
        "gitlabUrl": gitlab.URL,
        "runner": runner(),
        "cache": {
            "minio": {
                "engine": "minio",
                "image": images.reference("minio"),
                "volumeSize": "1Gi",
                "resources": SMALL,
            }
        },
        "dockerDaemon": daemon(),
        "namespaces": {name: f"yaml-{name}" for name in ("runner", "jobs", "cache", "daemon")},
        "network": INSECURE | EGRESS,
        "allowVolumeDeletion": True,
    }
    # JSON is YAML without aliases, which Pulumi refuses.
    path.write_text(json.dumps(project))
    with deployed(tmp_path):
        running("yaml-runner", "yaml-daemon")
        assert ready("yaml-cache", "statefulset") == [1]
    names = [item["metadata"]["name"] for item in objects("namespace")]
    assert not [name for name in names if name.startswith("yaml-")]


@pytest.mark.lab
def test_the_typescript_example_runs_on_the_lab(typescript: Path) -> None:
    needs_lab()
    program = typescript / "index.ts"
    text = program.read_text()
    for lines, settings in (
        ('nodeSelector: { pool: "builders" },\n    volumeSize: "200Gi",', daemon() | EGRESS),
        (
            'gitlabUrl: "https://gitlab.example.com",',
            {"gitlabUrl": gitlab.URL} | runner() | INSECURE | EGRESS,
        ),
    ):
        assert lines in text
        text = text.replace(lines, f"{json.dumps(settings)[1:-1]},")
    program.write_text(text)
    try:
        for namespace in TYPESCRIPT_NAMESPACES:
            cluster.kubectl("create", "namespace", namespace)
        with deployed(typescript):
            running("builds", "builds-docker")
        assert objects("statefulset", "builds-docker") == []
    finally:
        cluster.kubectl("delete", "namespace", "--ignore-not-found", *TYPESCRIPT_NAMESPACES)


def runner() -> dict[str, Any]:
    return {
        "image": images.reference("gitlab-runner"),
        "defaultImage": images.reference("docker"),
        "helperImage": images.reference("gitlab-runner-helper"),
        "pullPolicy": "if-not-present",
        "chart": {name: value for name, value in up.chart().items() if value},
    }


def daemon() -> dict[str, Any]:
    return {
        "image": images.reference("docker"),
        "acceptSharedNodes": True,
        "volumeSize": "2Gi",
        "resources": SMALL,
        "terminationGracePeriodSeconds": 30,
    }


@contextmanager
def deployed(folder: Path) -> Iterator[None]:
    """Deploy a program on the lab, and again, which changes nothing; destroy it in the end."""
    environment = engine.environment()
    done(folder, environment, "stack", "init", "test")
    secret = gitlab.runner_token(folder.name)
    done(folder, environment, "config", "set", "--secret", "runnerToken", secret)
    try:
        for _ in range(2):
            said = done(folder, environment, "up", "--yes", "--skip-preview")
            assert secret not in said
        history = json.loads(done(folder, environment, "stack", "history", "--json"))
        assert set(history[0]["resourceChanges"]) == {"same"}
        assert set(history[1]["resourceChanges"]) == {"create"}
        yield
    finally:
        done(folder, environment, "destroy", "--yes", "--skip-preview")
    assert resources(folder, environment) == {}


def objects(kind: str, *namespace: str) -> list[dict[str, Any]]:
    options = ("-n", *namespace) if namespace else ()
    listed = cluster.kubectl("get", kind, *options, "-o", "json")
    return list(json.loads(listed)["items"])


def ready(namespace: str, kind: str) -> list[int]:
    return [item["status"].get("readyReplicas", 0) for item in objects(kind, namespace)]


def running(runners: str, docker: str) -> None:
    # The manager is ready when it has registered, and the daemon when it answers over TLS.
    assert ready(runners, "deployment") == [1]
    assert ready(docker, "statefulset") == [1]
