"""Every example and every stack declares the objects that are recorded for it.

A difference is what users see in their preview. If it is wanted, delete the recorded file and run
the test again.
"""

import json
import runpy
from typing import Any

import pulumi
import pytest
import yaml
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.plugin import PluginProvider

from tests.harness import Recorder, deploy, without_secrets
from tests.stackfiles import NAMES, arguments, tokens
from tests.unit.test_examples import CONFIG, EXAMPLES, ROOT

RECORDED = ROOT / "tests/golden/objects"


def objects(recorder: Recorder) -> dict[str, Any]:
    """Return what was registered, by URN-like key, without secrets."""
    return {
        f"{made.type} {made.name}": {
            "parent": made.parent.rpartition("::")[2],
            "inputs": without_secrets(made.inputs),
        }
        for made in sorted(recorder.registrations, key=lambda made: (made.type, made.name))
        if made.type != "pulumi:pulumi:Stack"
    }


def compare(name: str, recorder: Recorder) -> None:
    """Compare with the recorded objects; they are recorded where there are none."""
    path = RECORDED / f"{name}.json"
    found = json.dumps(objects(recorder), indent=1, sort_keys=True) + "\n"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
        pytest.fail(f"{path} did not exist: it was written, look at it and run again")
    assert json.loads(found) == json.loads(path.read_text())


def fixed_token(number: int) -> str:
    """Return a token that is the same in each run: digests are made of it."""
    return f"glrt-{number:020}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_declares_its_objects(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {f"gitlab-runner-k8s:{key}": value for key, value in CONFIG.items()}
    for number, key in enumerate(("runnerToken", "smallToken")):
        config[f"gitlab-runner-k8s:{key}"] = fixed_token(number)
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    program = str(ROOT / "examples" / name / "__main__.py")
    compare(name, deploy(lambda: runpy.run_path(program)))


def test_the_yaml_example_declares_its_objects() -> None:
    """The example in TypeScript runs in tests/engine alone: there is no Node.js here."""
    program = yaml.safe_load((ROOT / "examples/yaml/Pulumi.yaml").read_text())
    ((name, resource),) = program["resources"].items()
    package, component = resource["type"].split(":")
    inputs = resource["properties"] | {"runnerToken": pulumi.Output.secret(fixed_token(0))}
    provider = PluginProvider()
    compare(
        "yaml",
        deploy(lambda: provider.construct(name, f"{package}:index:{component}", inputs)),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_declares_its_objects(name: str) -> None:
    secrets = {key: fixed_token(number) for number, key in enumerate(tokens(name))}
    args = arguments(name, secrets)
    compare(f"stack-{name}", deploy(lambda: RunnerPlatform("ci", args)))
