"""The stacks' files and their loader."""

import json
import re
from typing import Any

import pytest
from gitlab_runner_k8s import ArgsError

from stacks import settings
from tests import stackfiles
from tests.harness import token

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


@pytest.mark.parametrize("name", stackfiles.NAMES)
def test_every_stack_file_is_valid(name: str) -> None:
    args = stackfiles.arguments(name, stackfiles.tokens(name))
    assert args.gitlab_url == stackfiles.read(name)["gitlabUrl"]


def test_staging_is_what_production_is_in_small() -> None:
    staging, prod = stackfiles.read("staging"), stackfiles.read("prod")
    assert set(staging["fleets"]) == set(prod["fleets"])
    assert set(staging["zones"]) == set(prod["zones"])
    assert staging["cache"]["backend"] == prod["cache"]["backend"] == "s3"
    assert staging["cache"]["s3"]["identity"] == prod["cache"]["s3"]["identity"]
    assert set(staging) - set(prod) == {"allowVolumeDeletion"}
    assert set(prod) <= set(staging)


def test_nothing_of_production_can_be_taken_away() -> None:
    prod = stackfiles.read("prod")
    assert "allowVolumeDeletion" not in prod
    assert "allowDestroy" not in prod["cache"]["s3"]
    daemons = [prod["dockerDaemon"], *(zone["dockerDaemon"] for zone in prod["zones"].values())]
    for daemon in daemons:
        assert daemon["enableDisruptionBudget"]
        assert daemon["tolerations"]
        assert daemon["nodeSelector"]
    assert prod["runner"]["enableJobDisruptionBudget"]
    places = [json.dumps(daemon["nodeSelector"]) for daemon in daemons]
    assert len(set(places)) == len(daemons)  # zones share no node


@pytest.mark.parametrize("name", stackfiles.ENVIRONMENTS)
def test_no_stack_file_has_a_secret_in_plain_text(name: str) -> None:
    text = (stackfiles.STACKS / f"Pulumi.{name}.yaml").read_text()
    assert not re.search(r"glrt-(?!\.\.\.)", text)
    for command in re.findall(r"pulumi config set .*", text):
        assert "--secret" in command


def test_nested_keys_are_spelled_as_the_arguments_are() -> None:
    args = parse(
        {
            **GOOD,
            "runner": {"jobResources": {"cpuRequest": "500m"}, "jobNodeSelector": {"ab/cD": "d"}},
            "allowVolumeDeletion": True,
        }
    )
    assert args.runner.job_resources.cpu_request == "500m"
    assert args.runner.job_node_selector == {"ab/cD": "d"}
    assert args.allow_volume_deletion is True


def test_a_name_of_digits_stays_text() -> None:
    values = {"gitlabUrl": GOOD["gitlabUrl"], "tokenSecretName": "1234"}
    assert parse(values).token_secret_name == "1234"


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
        "runnerToken: must be a runner authentication token, but this is a personal access token",
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
