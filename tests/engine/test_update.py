"""What `make up` prints of an update that fails: each reason once, and in full."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_random as random
import pytest
import yaml
from pulumi import automation as auto

from lab import engine
from lab.console import LabError
from lab.paths import ROOT
from tests.harness import token

pytestmark = pytest.mark.engine
Select = Callable[..., auto.Stack]


@pytest.fixture
def select(environment: dict[str, str], tmp_path: Path) -> Select:
    """Return a function that selects a stack of a program, in a folder of its own."""

    def selected(program: Callable[[], None], config: dict[str, Any] | None = None) -> auto.Stack:
        (tmp_path / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
        if config:
            stacks = tmp_path / "stacks"
            stacks.mkdir()
            (stacks / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": config}))
        project = "gitlab-runner-k8s"
        return engine.select_stack(
            "test", program, tmp_path, project, environment, tmp_path / "state"
        )

    return selected


def reason(stack: auto.Stack) -> str:
    with pytest.raises(LabError) as caught:
        engine.update(stack)
    return str(caught.value)


def test_each_resource_that_fails_says_why_once(
    select: Select, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> None:
        random.RandomId("good", byte_length=4)
        for name in ("one", "two"):
            random.RandomPassword(
                name, length=8, lower=False, upper=False, numeric=False, special=False
            )

    told = reason(select(program))
    message = "at least one of lower, upper, numeric and special must be true"
    # The engine may stop before it has tried the second.
    named = [name for name in ("one", "two") if f":RandomPassword {name}:\n{message}" in told]
    assert named
    assert told.count(message) == len(named)
    assert message not in capsys.readouterr().out


def test_a_program_that_stops_says_why_once(select: Select) -> None:
    def program() -> None:
        raise pulumi.RunError("first line\n  second line")

    told = reason(select(program))
    assert told.count("first line\n  second line") == 1
    assert "Traceback" not in told


def test_an_error_of_the_program_is_shown_with_its_place(select: Select) -> None:
    def program() -> None:
        raise ValueError("of the program")

    told = reason(select(program))
    assert told.count("ValueError: of the program") == 1
    assert Path(__file__).name in told


def test_settings_that_are_wrong_are_all_named(select: Select) -> None:
    stack = select(
        engine.program_of(ROOT / "__main__.py"),
        {
            "gitlab-runner-k8s:gitlabUrl": "https://gitlab.example.com",
            "gitlab-runner-k8s:runner": {"concurrent": -1},
            "gitlab-runner-k8s:dockerDaemon": {
                "acceptSharedNodes": True,
                "volumeSize": "200 gigabytes",
            },
        },
    )
    stack.set_config("runnerToken", auto.ConfigValue(token(), secret=True))
    told = reason(stack)
    assert told.count("2 problems, nothing was registered") == 1
    assert told.count("runner.concurrent") == 1
    assert told.count("dockerDaemon.volumeSize") == 1


def test_what_happens_is_printed_a_line_a_resource(
    select: Select, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> None:
        random.RandomId("one", byte_length=4)

    stack = select(program)
    engine.update(stack)
    assert capsys.readouterr().out.count("create   random:index/randomId:RandomId one\n") == 1
    engine.update(stack)
    assert capsys.readouterr().out == ""
