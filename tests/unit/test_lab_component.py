"""The stand-in for GitLab's inputs of CI/CD components."""

import re
from typing import Any

import pytest
import yaml

from lab.gitlab import component

TEMPLATE = """
spec:
  component: [sha]
  inputs:
    stage: {default: build}
    mode: {options: [inline, registry], default: inline}
    count: {type: number, default: 2}
    push: {type: boolean, default: true}
    names: {type: array, default: [a]}
    tag: {regex: '^[a-z]+$'}
---
"build $[[ inputs.tag ]]":
  stage: $[[ inputs.stage ]]
  parallel: $[[ inputs.count ]]
  variables:
    MODE: "$[[ inputs.mode ]]-$[[ inputs.push ]]"
    SHA: $[[ component.sha ]]
  needs: $[[ inputs.names ]]
"""


def jobs(**inputs: Any) -> Any:
    return yaml.safe_load(component.render(TEMPLATE, inputs, {"sha": "abc"}))


def test_inputs_are_interpolated_with_their_types() -> None:
    assert jobs(tag="x", names=["p", "q"], push=False) == {
        "build x": {
            "stage": "build",
            "parallel": 2,
            "variables": {"MODE": "inline-false", "SHA": "abc"},
            "needs": ["p", "q"],
        }
    }


def test_what_is_no_string_reads_as_json_inside_of_one() -> None:
    template = TEMPLATE + "  image: $[[ inputs.count ]]-$[[ inputs.names ]]-$[[ inputs.push ]]\n"
    made = yaml.safe_load(component.render(template, {"tag": "x", "names": ["p", "q"]}))
    assert made["build x"]["image"] == '2-["p", "q"]-true'


def test_every_problem_of_the_inputs_is_named() -> None:
    with pytest.raises(ValueError, match="required") as caught:
        jobs(mode="other", count="2", push="yes", unknown=1)
    said = str(caught.value)
    for name in ("mode", "count", "push", "unknown", "tag"):
        assert f"{name}: " in said
    with pytest.raises(ValueError, match=r"must match \^"):
        jobs(tag="A")
    with pytest.raises(ValueError, match="must be of the type number"):
        jobs(tag="x", count=True)


def test_a_header_and_jobs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs\.gone: used in the jobs, not in the header"):
        component.render(TEMPLATE + "  image: $[[ inputs.gone ]]\n", {"tag": "x"})
    with pytest.raises(ValueError, match=r"inputs\.idle: never used"):
        component.render(TEMPLATE.replace("inputs:\n", "inputs:\n    idle: {default: 1}\n", 1), {})
    with pytest.raises(ValueError, match="unknown type 'list'"):
        component.render(TEMPLATE.replace("type: array", "type: list"), {"tag": "x"})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", ".x: {}\n", ".x: a hidden job must have something in it"),
        ("", ".x:\n", ".x: a hidden job must have something in it"),
        ("", "x: {extends: .gone, script: [id]}\n", "x: extends .gone, which is not there"),
        ("", "x: {only: [tags], rules: [{if: $A}]}\n", "x: rules stand beside no only"),
        ("", "x: {scripts: [id]}\n", "x: GitLab knows no scripts"),
        ("", "x: {rules: [{if: $A, unless: $B}]}\n", "x: GitLab knows no rules:unless"),
        ("", "x: {services: [{name: a, env: {}}]}\n", "x: GitLab knows no services:env"),
        ("", "x: {cache: {key: a, path: [b]}}\n", "x: GitLab knows no cache:path"),
        ("type: number,", "type: number, regex: x,", "count: a regex is for a string alone"),
        ("[a-z]+", "(?!x)[a-z]+", "tag: RE2 has no lookaround"),
        ("type: boolean,", "type: boolean, options: [true],", "push: options are for a string"),
    ],
)
def test_what_gitlab_alone_refuses(old: str, new: str, said: str) -> None:
    template = TEMPLATE.replace(old, new) if old else TEMPLATE + new
    with pytest.raises(ValueError, match=re.escape(said)):
        component.render(template, {"tag": "x"})


def test_a_hidden_job_with_something_in_it_is_taken() -> None:
    more = ".x: {variables: {A: b}}\ny: {extends: .x, script: [id]}\n"
    assert "y" in yaml.safe_load(component.render(TEMPLATE + more, {"tag": "x"}))
