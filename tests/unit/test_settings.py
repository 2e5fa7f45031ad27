"""The stacks' files and their loader."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from gitlab_runner_k8s import ArgsError

from stacks import settings
from tests.harness import token

STACKS = Path(__file__).parents[2] / "stacks"
PREFIX = "gitlab-runner-k8s:"
GOOD: dict[str, Any] = {"gitlabUrl": "https://gitlab.example.com", "runnerToken": token()}


def as_engine(values: dict[str, Any]) -> dict[str, str]:
    """Return configuration as the engine hands it over: everything is text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }


def parse(values: dict[str, Any], secret: tuple[str, ...] = ("runnerToken",)) -> Any:
    return settings.parse(as_engine(values), secret, "dev")


def problems(values: dict[str, Any], **options: Any) -> tuple[str, ...]:
    with pytest.raises(ArgsError) as caught:
        parse(values, **options)
    return caught.value.problems


@pytest.mark.parametrize("stack", ["local", "dev", "staging", "prod"])
def test_every_stack_file_is_valid(stack: str) -> None:
    config = yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {
        key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)
    }
    if stack == "local":
        # Only the lab knows the digest of the image that it built.
        values["cache"]["minio"]["image"] = f"lab.invalid/minio:1@sha256:{'0' * 64}"
    args = parse({**values, "runnerToken": token()})
    assert args["gitlab_url"] == values["gitlabUrl"]


def test_nested_keys_are_spelled_as_the_arguments_are() -> None:
    args = parse(
        {
            **GOOD,
            "runner": {"jobResources": {"cpuRequest": "500m"}, "jobNodeSelector": {"ab/cD": "d"}},
            "allowVolumeDeletion": True,
        }
    )
    assert args["runner"]["job_resources"] == {"cpu_request": "500m"}
    assert args["runner"]["job_node_selector"] == {"ab/cD": "d"}
    assert args["allow_volume_deletion"] is True


def test_a_name_of_digits_stays_text() -> None:
    values = {"gitlabUrl": GOOD["gitlabUrl"], "tokenSecretName": "1234"}
    assert parse(values)["token_secret_name"] == "1234"


def test_the_token_has_to_be_a_secret() -> None:
    found = problems(GOOD, secret=())
    assert found == (
        "runnerToken: must be a secret; set it with 'pulumi config set --secret runnerToken'",
    )


def test_every_problem_comes_at_once_with_path_and_fix() -> None:
    found = problems(
        {
            "gitlabUrl": "gitlab.example.com",
            "runnerToken": "glpat-0123456789012345678901",
            "runer": {},
            "runner": {"concurent": 3, "concurrent": "10"},
            "cache": {"minio": {"volumeSize": "10"}},
            "dockerDaemon": {"acceptSharedNodes": True, "image": "docker.io/library/docker:dind"},
        }
    )
    text = "\n".join(found)
    for wanted in (
        "gitlabUrl: must be an https:// URL",
        "runnerToken: must be a runner authentication token, this is a personal access token",
        "runer: unknown key; did you mean 'runner'?",
        "runner.concurent: unknown key; did you mean 'concurrent'?",
        "runner.concurrent: must be a whole number, got '10'",
        "cache.minio.volumeSize: must be at least 1Gi",
        "dockerDaemon.image: must be pinned by digest",
    ):
        assert wanted in text
    assert len(found) == 7
    assert "glpat-" not in text


def test_snake_case_is_not_a_key() -> None:
    (problem,) = problems({**GOOD, "docker_daemon": {}})
    assert problem.startswith("docker_daemon: unknown key; did you mean 'dockerDaemon'?")
