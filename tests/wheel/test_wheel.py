"""The wheel in an environment of its own: `make wheel` builds it, and that environment."""

import os
import re
import subprocess
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from lab.paths import CACHE, ROOT
from tests.required import missing

PYTHON = CACHE / "wheel-venv/bin/python"
PACKAGE = ROOT / "components/gitlab_runner_k8s"
CONSUMER = """
import pulumi
from gitlab_runner_k8s import RunnerPlatform, RunnerPlatformArgs

args: RunnerPlatformArgs = {"gitlab_url": "https://gitlab.example.com", "token_secret_name": "t"}
platform = RunnerPlatform("ci", args)
host: pulumi.Output[str] | None = platform.docker_host
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted((CACHE / "dist").glob("gitlab_runner_k8s-*.whl"))
    if not found or not PYTHON.exists():
        missing("the wheel is not built (make wheel)")
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [PYTHON, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_it_has_the_library_and_nothing_else(names: list[str]) -> None:
    wanted = {
        f"gitlab_runner_k8s/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".sh", ".json"} or path.name == "py.typed"
    }
    assert wanted == {name for name in names if name.startswith("gitlab_runner_k8s/")}
    rest = {name.partition("/")[0] for name in names} - {"gitlab_runner_k8s"}
    assert len(rest) == 1
    assert rest.pop().endswith(".dist-info")


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: list[str]) -> Message:
    (name,) = [name for name in names if name.endswith("/METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(name).decode())


def test_its_metadata_is_complete(metadata: Message, names: list[str]) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in (metadata.get_all("Classifier") or [])
    links = {link.partition(",")[0] for link in metadata.get_all("Project-URL") or []}
    assert {"Repository", "Documentation", "Changelog"} <= links
    assert metadata["Description-Content-Type"] == "text/markdown"
    required = {
        re.split(r"[<>=!;\[ ]", line)[0] for line in metadata.get_all("Requires-Dist") or []
    }
    assert {"pulumi", "pulumi-kubernetes", "pydantic"} <= required
    assert not required & {"pytest", "kubernetes", "boto3", "moto"}


def test_it_is_imported_where_it_is_installed(tmp_path: Path, metadata: Message) -> None:
    code = (
        "import gitlab_runner_k8s as ci\n"
        "from importlib import resources\n"
        "print(ci.__file__, ci.__version__, len(ci.COMPONENTS))\n"
        "assert resources.files(ci).joinpath('daemon/scripts/reserve.sh').read_text()\n"
    )
    done = run(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    file, version, _ = done.stdout.split()
    assert "wheel-venv" in file
    assert version == metadata["Version"]


def test_a_consumer_sees_its_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CONSUMER)
    good = run(tmp_path, "-m", "mypy", "--strict", str(program))
    assert good.returncode == 0, good.stdout
    program.write_text(CONSUMER.replace('"gitlab_url"', '"gitlab_uri"'))
    bad = run(tmp_path, "-m", "mypy", "--strict", str(program))
    assert bad.returncode == 1
    assert 'Extra key "gitlab_uri" for TypedDict' in bad.stdout
