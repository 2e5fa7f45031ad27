"""`pulumi new` with the template: what it writes previews."""

import json
from pathlib import Path

import pytest
import yaml

from lab import engine
from lab.paths import ROOT
from tests.harness import token

pytestmark = pytest.mark.engine


def test_a_new_project_previews(tmp_path: Path, kept: dict[str, str]) -> None:
    def pulumi(*arguments: str) -> str:
        done = engine.cli(tmp_path, kept, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    secret = token()
    # `--force`: the state is in the folder already.
    new = ("new", str(ROOT / "template"), "--generate-only", "--yes", "--force")
    pulumi(*new, "--name", "builds", "--description", "Warm builds")
    project = yaml.safe_load((tmp_path / "Pulumi.yaml").read_text())
    assert project["name"] == "builds"
    assert project["description"] == "Warm builds"
    assert "template" not in project
    pulumi("stack", "init", "dev")
    pulumi("config", "set", "gitlabUrl", "https://gitlab.example.com")
    pulumi("config", "set", "dockerNodeLabel", "gitlab-runner/docker=true")
    pulumi("config", "set", "--secret", "runnerToken", secret)
    preview = pulumi("preview", "--json")
    assert secret not in preview
    kinds = [step["newState"]["type"] for step in json.loads(preview)["steps"]]
    assert "gitlab-runner-k8s:index:RunnerPlatform" in kinds
    assert len(kinds) > 40


def test_the_template_asks_for_what_the_program_reads() -> None:
    asked = yaml.safe_load((ROOT / "template/Pulumi.yaml").read_text())["template"]["config"]
    assert [name for name, prompt in asked.items() if prompt.get("secret")] == ["runnerToken"]
    program = (ROOT / "template/__main__.py").read_text()
    for name in asked:
        assert f'"{name}"' in program
