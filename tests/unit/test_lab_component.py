"""The stand-in for GitLab's inputs of CI/CD components."""

from typing import Any

import pytest
import yaml

from lab.jobs import component

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
