"""The template: the modules in it, what it refuses, and who may preview what."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.jobs import Git, ci
from lab.jobs.component import render
from preview import embed
from preview.__main__ import FAILED

TEXT = embed.TEMPLATE.read_text()


def jobs(**inputs: Any) -> dict[str, Any]:
    given = {"stacks": ["dev"], **{key.replace("_", "-"): value for key, value in inputs.items()}}
    found: dict[str, Any] = yaml.safe_load(render(TEXT, given))
    return found


def test_the_template_has_the_modules_as_they_are() -> None:
    """If not: `python -m preview.embed`."""
    assert embed.embedded(TEXT) == TEXT


def test_every_module_that_is_imported_is_in_it() -> None:
    here = {path.stem for path in (embed.ROOT / "preview").glob("*.py")}
    assert here - {"embed"} == set(embed.MODULES)


def test_the_modules_run_as_the_job_has_them(tmp_path: Path) -> None:
    (script,) = [text for text in jobs()["pulumi-preview"]["script"] if "END-OF-MODULE" in text]
    subprocess.run(
        ["/bin/sh", "-ec", script],
        env={"CI_PROJECT_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
    )
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
        ({"directory": "/etc"}, "directory: must match"),
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


def test_each_stack_has_a_job() -> None:
    text = yaml.safe_dump(jobs(stacks=["dev", "staging"]))
    for stack in ("dev", "staging"):
        made = ci.job(
            text,
            f"pulumi-preview: [{stack}]",
            Git("", "0" * 40, "x"),
            identity=1,
            project_id=1,
            project_path="a/b",
        )
        variables = {variable.key: variable.value for variable in made.variables}
        assert variables["PREVIEW_STACK"] == stack
    with pytest.raises(ValueError, match="no job"):
        ci.job(
            text,
            "pulumi-preview: [prod]",
            Git("", "0" * 40, "x"),
            identity=1,
            project_id=1,
            project_path="a/b",
        )


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
