"""The template: the modules in it, what it refuses, and who may preview what."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.gitlab import Git, ci
from lab.gitlab.component import render
from lab.paths import ROOT
from preview.__main__ import FAILED, POLICY
from tests.preview.test_converter import recorded

TEXT = (ROOT / "templates/pulumi-preview/template.yml").read_text()


def jobs(**inputs: Any) -> dict[str, Any]:
    given = {"stacks": ["dev"], **{key.replace("_", "-"): value for key, value in inputs.items()}}
    found: dict[str, Any] = yaml.safe_load(render(TEXT, given))
    return found


def modules(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.py")}


def test_the_job_writes_every_module_and_runs_them(tmp_path: Path) -> None:
    (script,) = [text for text in jobs()["pulumi-preview"]["script"] if "END-OF-MODULE" in text]
    subprocess.run(
        ["/bin/sh", "-ec", script],
        env={"CI_PROJECT_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert modules(tmp_path / ".pulumi-preview/preview") == modules(ROOT / "preview")
    done = subprocess.run(
        # Without site-packages: the standard library is all that there is.
        [sys.executable, "-S", "-m", "preview", "events.json", "--stack=dev"],
        cwd=tmp_path / ".pulumi-preview",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (FAILED, "dev: failed\n"), done.stderr


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"stacks": "dev"}, "stacks: must be of the type array"),
        ({"protected": "yes"}, "protected: must be of the type boolean"),
        ({"directory": "$(id)"}, "directory: must match"),
        ({"directory": "/etc/"}, "directory: must match"),
        ({"directory": "infra"}, "directory: must match"),
        ({"directory": "."}, "directory: must match"),
        ({"directory": "../infra/"}, "directory: must match"),
        ({"stage": "a'; b"}, "stage: must match"),
        ({"stack_file": "a b.yaml"}, "stack-file: must match"),
        ({"requirements": "../requirements.txt"}, "requirements: must match"),
        ({"install": " "}, "install: must match"),
        ({"policy_pack": "a'; id; '"}, "policy-pack: must match"),
        ({"note_token_variable": "a b"}, "note-token-variable: must match"),
        ({"backend_url_variable": "A'$(id)'"}, "backend-url-variable: must match"),
        ({"virtualenv": "../venv'"}, "virtualenv: must match"),
        ({"note_limit": "many"}, "note-limit: must be of the type number"),
        ({"stack": ["dev"]}, "stack: there is no such input"),
    ],
)
def test_bad_inputs_are_refused_before_there_is_a_pipeline(
    inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=r"must|no such") as caught:
        jobs(**inputs)
    assert words in str(caught.value)


def test_every_string_has_a_rule() -> None:
    """Of the other types GitLab checks the type alone."""
    header = next(iter(yaml.safe_load_all(TEXT)))["spec"]["inputs"]
    strings = {name for name, rule in header.items() if rule.get("type", "string") == "string"}
    assert {name for name, rule in header.items() if "regex" in rule} == strings


@pytest.mark.parametrize("directory", ["", "infra/", ".deploy/eu-1/"])
def test_paths_of_the_project_follow_its_directory(directory: str) -> None:
    job = jobs(directory=directory)["pulumi-preview"]
    (concerned,) = [
        rule["changes"]["paths"]
        for rule in job["rules"]
        if "changes" in rule and "**/*.py" not in rule["changes"]["paths"]
    ]
    assert concerned == [f"{directory}Pulumi.$PREVIEW_STACK.yaml"]
    (cache,) = job["cache"]
    assert cache["key"]["files"] == [f"{directory}requirements.txt"]
    assert f"{directory}venv/" in cache["paths"]


def test_the_cache_has_the_packages_and_the_plugins() -> None:
    """The engine keeps plugins in the folder `plugins` of PULUMI_HOME."""
    job = jobs(directory="infra/", virtualenv=".cache/venv")["pulumi-preview"]
    home = job["variables"]["PULUMI_HOME"].removeprefix("$CI_PROJECT_DIR/")
    assert not home.startswith(("/", "$")), "only what is in the project's folder can be cached"
    (cache,) = job["cache"]
    assert cache["paths"] == ["infra/.cache/venv/", f"{home}/plugins/"]
    assert cache.get("policy", "pull-push") == "pull-push"


# Stand-in for the CLI: keeps what it was given, and writes the events of a recorded preview.
PULUMI = """#!/bin/sh
{ printf '%s|%s' "$PWD" "${PULUMI_DEBUG_COMMANDS:-}"; printf '|%s' "$@"; echo; } >> "$CALLS"
[ "$1" = preview ] || exit 0
while [ "$1" != --event-log ]; do shift; done
cp "$EVENTS" "$2"
exit "$ENGINE_CODE"
"""


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Return a function that runs the job's script: (exit code, calls of the CLI, output)."""
    (tmp_path / "bin").mkdir()
    standin = tmp_path / "bin/pulumi"
    standin.write_text(PULUMI)
    standin.chmod(0o755)
    for folder in ("repository/infra", "repository/rules"):
        (tmp_path / folder).mkdir(parents=True)

    def run(case: str, engine_code: int = 0, **inputs: Any) -> tuple[int, list[list[str]], str]:
        (tmp_path / "recorded").write_text(recorded(case))
        done = subprocess.run(
            ["/bin/sh", "-ec", "\n".join(jobs(**inputs)["pulumi-preview"]["script"])],
            cwd=tmp_path / "repository",
            env={
                "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
                "CI_PROJECT_DIR": str(tmp_path / "repository"),
                "CI_COMMIT_REF_NAME": "topic",
                "PREVIEW_STACK": "dev",
                "PULUMI_BACKEND_URL": "file:///nowhere",
                "CALLS": str(tmp_path / "calls"),
                "EVENTS": str(tmp_path / "recorded"),
                "ENGINE_CODE": str(engine_code),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (tmp_path / "calls").read_text().splitlines()
        calls = [line.replace(str(tmp_path / "repository"), "ROOT").split("|") for line in lines]
        return done.returncode, calls, done.stdout + done.stderr

    return run


EVENT_LOG = ("--event-log", "ROOT/.pulumi-preview/events.json")
SHOWN = ("--stack", "dev", "--non-interactive", "--diff", "--color", "always")


def test_what_the_engine_is_asked_for(script: Any, tmp_path: Path) -> None:
    code, calls, output = script("create")
    assert code == 0, output
    assert calls == [
        ["ROOT", "", "install"],
        ["ROOT", "true", "preview", *SHOWN, *EVENT_LOG],
    ]
    report = json.loads((tmp_path / "repository/.pulumi-preview/report.json").read_text())
    assert report == {"create": 4, "update": 0, "delete": 0}


def test_a_violated_policy_fails_the_job(script: Any) -> None:
    code, calls, output = script("policy", 255, directory="infra/", policy_pack="rules")
    assert code == POLICY, output
    assert calls == [
        ["ROOT/infra", "", "install"],
        ["ROOT/infra", "", "-C", "ROOT/rules", "install"],
        ["ROOT/infra", "true", "preview", *SHOWN, "--policy-pack", "ROOT/rules", *EVENT_LOG],
    ]
    assert "dev: failed: 1 policy violation" in output


def test_a_directory_that_is_not_there_is_named(script: Any, tmp_path: Path) -> None:
    (tmp_path / "calls").touch()
    code, calls, output = script("create", directory="elsewhere/")
    assert (code, calls) == (1, [])
    assert "error: the directory 'elsewhere' is not there" in output


def test_each_stack_has_a_job() -> None:
    text = yaml.safe_dump(jobs(stacks=["dev", "staging"]))
    for stack in ("dev", "staging"):
        made = ci.job(text, f"pulumi-preview: [{stack}]", Git("0" * 40))
        variables = {variable.key: variable.value for variable in made.variables}
        assert variables["PREVIEW_STACK"] == stack
    with pytest.raises(ValueError, match="no job"):
        ci.job(text, "pulumi-preview: [prod]", Git("0" * 40))


MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_PROJECT_ID": "42",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42",
    "CI_COMMIT_REF_PROTECTED": "false",
}
PUSH = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_REF_PROTECTED": "false"}


def holds(condition: str, variables: dict[str, str]) -> bool:
    """Return whether a rule's `if` holds: strings, variables, ==, !=, && and || as GitLab has."""
    tokens = re.findall(r'"[^"]*"|\$\w+|==|!=|&&|\|\||[()]', condition)
    assert "".join(tokens) == re.sub(r"\s", "", condition)
    words = {"&&": "and", "||": "or"}
    spelled = [
        repr(variables.get(token[1:])) if token[0] == "$" else words.get(token, token)
        for token in tokens
    ]
    return bool(eval(" ".join(spelled)))


def runs(inputs: dict[str, Any], variables: dict[str, str]) -> bool:
    """Return whether the job is made, where every path counts as changed."""
    for rule in jobs(**inputs)["pulumi-preview"]["rules"]:
        if holds(rule["if"], variables):
            return bool(rule.get("when") != "never")
    return False


@pytest.mark.parametrize(
    ("protected", "variables", "expected"),
    [
        (False, MERGE_REQUEST, True),
        (True, MERGE_REQUEST, False),
        (True, {**MERGE_REQUEST, "CI_COMMIT_REF_PROTECTED": "true"}, True),
        (False, PUSH, False),
        (True, PUSH, False),
        (True, {**PUSH, "CI_COMMIT_REF_PROTECTED": "true"}, True),
        (False, {**PUSH, "CI_COMMIT_REF_PROTECTED": "true"}, False),
        (False, {**MERGE_REQUEST, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "43"}, False),
        (True, {"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_REF_PROTECTED": "true"}, False),
        (True, {"CI_PIPELINE_SOURCE": "web", "CI_COMMIT_REF_PROTECTED": "false"}, False),
    ],
)
def test_who_may_preview_what(protected: bool, variables: dict[str, str], expected: bool) -> None:
    assert runs({"protected": protected}, variables) is expected


def test_no_rule_asks_for_a_variable_of_the_matrix() -> None:
    """GitLab 18.6 and newer do not know it there: the rule would let everything through."""
    for rule in jobs()["pulumi-preview"]["rules"]:
        assert "PREVIEW_STACK" not in rule["if"]


def paths(stack: str) -> list[list[str]]:
    """Return the paths of each rule, for one stack of the matrix."""
    rules = jobs()["pulumi-preview"]["rules"]
    return [
        [path.replace("$PREVIEW_STACK", stack) for path in rule["changes"]["paths"]]
        for rule in rules
        if "changes" in rule
    ]


@pytest.mark.parametrize(
    ("changed", "concerned"),
    [
        ("Pulumi.dev.yaml", ["dev"]),
        ("Pulumi.staging.yaml", ["staging"]),
        ("Pulumi.yaml", ["dev", "staging"]),
        ("shop/network.py", ["dev", "staging"]),
        ("__main__.py", ["dev", "staging"]),
        ("requirements.txt", ["dev", "staging"]),
        ("README.md", []),
    ],
)
def test_a_change_concerns_its_stacks_alone(changed: str, concerned: list[str]) -> None:
    def matches(pattern: str) -> bool:
        return fnmatch(changed, pattern) or fnmatch(changed, pattern.removeprefix("**/"))

    found = [
        stack
        for stack in ("dev", "staging")
        if any(matches(pattern) for patterns in paths(stack) for pattern in patterns)
    ]
    assert found == concerned
