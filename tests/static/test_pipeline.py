"""The project's own pipeline, as linters of GitLab's files see it; no GitLab is asked."""

import os
import subprocess
from pathlib import Path

import pytest

from lab.paths import ROOT
from tests.required import missing
from tests.static.scan import TOOLS

RULES = (
    "{extends: default, rules: {line-length: {max: 110}, document-start: disable, braces: disable}}"
)


def run(tool: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if not (TOOLS / tool).exists():
        missing(f"{tool} is not installed (make static)")
    return subprocess.run(
        [str(TOOLS / tool), *arguments],
        cwd=folder,
        # shellcheck is found beside it.
        env={**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def test_gitlab_ci_verify_finds_nothing() -> None:
    done = run("gitlab-ci-verify", "--no-lint-api")
    assert done.returncode == 0, done.stdout + done.stderr


def test_gitlab_ci_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    # Without its scripts being read, the test above would say nothing.
    (tmp_path / ".gitlab-ci.yml").write_text(
        "job:\n  script:\n    - cd $FOLDER\n    - rm -r $x/*\n"
    )
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    done = run("gitlab-ci-verify", "--no-lint-api", folder=tmp_path)
    assert done.returncode != 0
    assert "SC2086" in done.stdout + done.stderr


@pytest.mark.parametrize("path", [".gitlab-ci.yml", "stacks"])
def test_yamllint_finds_nothing(path: str) -> None:
    done = run("yamllint", "--strict", "-d", RULES, path)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing() -> None:
    done = run("shellcheck", *(str(path) for path in sorted((ROOT / ".ci").iterdir())))
    assert done.returncode == 0, done.stdout
