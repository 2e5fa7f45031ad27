"""The real CLI with the host for Python: what `pulumi preview` and a component plugin need."""

import json
import shutil
from pathlib import Path

import pytest

from generate.schema import GOLDEN, api
from lab import engine
from lab.paths import ROOT
from tests.harness import token

pytestmark = pytest.mark.engine


def project(folder: Path, program: str) -> Path:
    (folder / "Pulumi.yaml").write_text("name: language\nruntime: python\n")
    (folder / "__main__.py").write_text(program)
    return folder


def test_the_repositorys_own_program_previews(tmp_path: Path, kept: dict[str, str]) -> None:
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")

    def pulumi(*arguments: str) -> str:
        done = engine.cli(tmp_path, kept, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    secret = token()
    pulumi("stack", "init", "dev")
    pulumi("config", "set", "--secret", "runnerToken", secret)
    preview = pulumi("preview", "--json")
    steps = [step for step in json.loads(preview)["steps"] if step["op"] == "create"]
    kinds = [step["newState"]["type"] for step in steps]
    assert "gitlab-runner-k8s:index:RunnerPlatform" in kinds
    assert "gitlab-runner-k8s:index:SharedDockerDaemon" in kinds
    assert len(steps) > 40
    assert secret not in preview


def test_configuration_and_secrets_reach_the_program(tmp_path: Path, kept: dict[str, str]) -> None:
    program = (
        "import pulumi\n"
        "config = pulumi.Config()\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('secret', config.require_secret('secret'))\n"
        "pulumi.export('where', f'{pulumi.get_project()}/{pulumi.get_stack()}')\n"
        "print('said by the program')\n"
    )
    project(tmp_path, program)
    secret = token()
    for arguments in (
        ("stack", "init", "test"),
        ("config", "set", "plain", "text"),
        ("config", "set", "--secret", "secret", secret),
    ):
        assert engine.cli(tmp_path, kept, *arguments).returncode == 0
    done = engine.cli(tmp_path, kept, "up", "--yes", "--skip-preview")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "said by the program" in done.stdout
    assert secret not in done.stdout + done.stderr
    outputs = engine.cli(tmp_path, kept, "stack", "output", "--json")
    expected = {"plain": "text", "secret": "[secret]", "where": "language/test"}
    assert json.loads(outputs.stdout) == expected


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import pulumi\nraise pulumi.RunError('one clear line')\n", "one clear line"),
        ("raise ValueError('of the program')\n", "ValueError: of the program"),
        ("raise SystemExit(3)\n", "exited with non-zero exit code: 3"),
    ],
)
def test_a_program_that_fails_fails_the_preview(
    tmp_path: Path, kept: dict[str, str], program: str, message: str
) -> None:
    project(tmp_path, program)
    engine.cli(tmp_path, kept, "stack", "init", "test")
    done = engine.cli(tmp_path, kept, "preview")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_the_engine_reads_the_schema_from_the_running_plugin(
    tmp_path: Path, kept: dict[str, str]
) -> None:
    done = engine.cli(tmp_path, kept, "package", "get-schema", str(ROOT / "components"))
    assert done.returncode == 0, done.stderr
    served, golden = json.loads(done.stdout), json.loads(GOLDEN.read_text())
    assert (served["name"], served["version"]) == (golden["name"], golden["version"])
    assert api(served) == api(golden)


def test_a_plugin_that_cannot_start_says_why(tmp_path: Path, kept: dict[str, str]) -> None:
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "PulumiPlugin.yaml").write_text("runtime: python\n")
    (plugin / "__main__.py").write_text("raise SystemExit('no library here')\n")
    done = engine.cli(tmp_path, kept, "package", "get-schema", str(plugin))
    assert done.returncode != 0
    assert "no library here" in done.stdout + done.stderr
