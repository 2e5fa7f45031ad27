"""The CI/CD components in templates/, as linters for GitLab CI, YAML and shell see them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.gitlab.component import render
from lab.paths import CACHE, ROOT
from tests.required import missing

BIN = CACHE / "static-venv/bin"
TEMPLATES = sorted((ROOT / "templates").glob("*/template.yml"))
# What has no default.
REQUIRED: Mapping[str, dict[str, Any]] = {"pulumi-preview": {"stacks": ["dev", "staging"]}}
_YAML = (
    "{extends: default, rules: {line-length: disable, document-start: disable,"
    " indentation: {indent-sequences: whatever}}}"
)
BROKEN = """
broken:
  stage: test
  script:
    - for name in $(ls *.txt); do rm -r $name/$1; done
"""


def _run(command: list[str | Path], folder: Path, text: str = "") -> tuple[int, str]:
    if not (BIN / command[0]).exists():
        missing("the linters are not installed (make static)")
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        # It calls shellcheck by name.
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder)},
    )
    return done.returncode, done.stdout + done.stderr


def gitlab_ci(text: str, folder: Path) -> tuple[int, str]:
    """Lint a pipeline and its scripts, without the API of a GitLab."""
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    (folder / ".gitlab-ci.yml").write_text(text)
    return _run(["gitlab-ci-verify", "--no-lint-api", "--severity=warning"], folder)


def shell(text: str, folder: Path) -> tuple[int, str]:
    """Lint the commands of each job as one script, for any shell."""
    scripts = [
        "\n".join(
            line for key in ("before_script", "script", "after_script") for line in job.get(key, ())
        )
        for job in yaml.safe_load(text).values()
        if isinstance(job, dict) and "script" in job
    ]
    assert scripts
    results = [_run(["shellcheck", "--shell=sh", "-"], folder, script) for script in scripts]
    return max(code for code, _ in results), "".join(shown for _, shown in results)


def yaml_style(text: str, folder: Path) -> tuple[int, str]:
    """Lint YAML."""
    return _run(["yamllint", "--strict", "-d", _YAML, "-"], folder, text)


def empty_hidden(text: str) -> list[str]:
    """Return the hidden jobs without anything in them."""
    return [name for name, job in yaml.safe_load(text).items() if name[0] == "." and not job]


def by_name(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=path.parent.name) for path in paths]


def test_there_are_templates() -> None:
    assert TEMPLATES


@pytest.mark.parametrize("template", by_name(TEMPLATES))
def test_the_rendered_jobs_pass(template: Path, tmp_path: Path) -> None:
    jobs = render(template.read_text(), REQUIRED.get(template.parent.name, {}))
    for lint in (gitlab_ci, shell):
        code, shown = lint(jobs, tmp_path)
        assert code == 0, shown


@pytest.mark.parametrize("template", by_name(TEMPLATES))
def test_the_template_is_tidy_yaml(template: Path, tmp_path: Path) -> None:
    code, shown = yaml_style(template.read_text(), tmp_path)
    assert code == 0, shown


@pytest.mark.parametrize("template", by_name(TEMPLATES))
def test_every_input_says_what_it_is(template: Path) -> None:
    header = next(iter(yaml.safe_load_all(template.read_text())))
    for name, rule in header["spec"]["inputs"].items():
        assert rule.get("description", "").strip(), name


@pytest.mark.parametrize("template", by_name(TEMPLATES))
def test_no_hidden_job_is_empty(template: Path) -> None:
    """GitLab refuses the pipeline then, and `gitlab-ci-verify` says nothing."""
    assert empty_hidden(render(template.read_text(), REQUIRED.get(template.parent.name, {}))) == []


@pytest.mark.parametrize("text", [".a: {}", ".a:", ".a: []", '.a: ""'])
def test_an_empty_hidden_job_is_seen(text: str) -> None:
    assert empty_hidden(f"{text}\nb: {{script: [id]}}\n.c: {{tags: [a]}}") == [".a"]


def test_the_linters_can_fail(tmp_path: Path) -> None:
    code, shown = gitlab_ci(BROKEN, tmp_path)
    assert code != 0
    assert "SC-2045" in shown
    code, shown = shell(BROKEN, tmp_path)
    assert code != 0
    assert "SC2086" in shown
    code, shown = yaml_style("a: 1\na: 2\n", tmp_path)
    assert code != 0
    assert "duplication" in shown
