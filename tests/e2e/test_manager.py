"""The runner's manager on the lab: how it registers, what it may do, and how it ends."""

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s.runner.helm_values import RBAC_RULES

from lab import cluster, gitlab
from lab.gitlab import Variable
from tests.e2e import runners
from tests.e2e.held import Held, job
from tests.e2e.test_faults import exec_in, kill, the_pod, wait_until
from tests.e2e.test_platform import get

pytestmark = pytest.mark.lab
NAME = "manager"
RUNNER, JOBS = f"{NAME}-runner", f"{NAME}-jobs"
FOLDER = "/home/gitlab-runner/.gitlab-runner"


@pytest.fixture(scope="module", autouse=True)
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with runners.deployed(NAME, tmp_path_factory.mktemp(NAME)):
        yield


@pytest.mark.parametrize(
    ("token", "kept"), [("glrt-x", set()), ("x", {"REGISTER_LOCKED", "RUNNER_TAG_LIST"})]
)
def test_a_token_of_gitlabs_new_kind_registers_without_what_gitlab_holds(
    tmp_path: Path, token: str, kept: set[str]
) -> None:
    """The runner refuses `locked` and tags beside such a token."""
    entrypoint, seen = tmp_path / "entrypoint", tmp_path / "environment"
    entrypoint.write_text(f"#!/bin/sh\nenv > {seen}\n")
    entrypoint.chmod(0o755)
    scripts = get("configmap", RUNNER, NAME)["data"]
    script = scripts["register-the-runner"].replace("/entrypoint", str(entrypoint))
    given = {"CI_SERVER_TOKEN": token, "REGISTER_LOCKED": "true", "RUNNER_TAG_LIST": "a,b"}
    subprocess.run(["sh", "-c", script], env={**os.environ, **given}, check=True, timeout=30)
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names & {"REGISTER_LOCKED", "RUNNER_TAG_LIST"} == kept


def test_the_probe_lets_a_registered_manager_live() -> None:
    pod = the_pod(RUNNER, "deployment", NAME)
    assert pod["spec"]["containers"][0]["livenessProbe"]["exec"]["command"][1].endswith(
        "check-live"
    )
    exec_in(RUNNER, pod["metadata"]["name"], "bash /configmaps/check-live")
    system = exec_in(RUNNER, pod["metadata"]["name"], f"cat {FOLDER}/.runner_system_id")
    assert system in gitlab.runners()[NAME]


def test_what_registration_makes_of_the_template() -> None:
    """A key that registration drops, or writes in another way, has no effect."""
    pod = the_pod(RUNNER, "deployment", NAME)["metadata"]["name"]
    text = exec_in(RUNNER, pod, f"cat {FOLDER}/config.toml")
    (registered,) = tomllib.loads(text)["runners"]
    template = get("configmap", RUNNER, NAME)["data"]["config.template.toml"]
    (wanted,) = tomllib.loads(template)["runners"]
    assert registered["token"] == gitlab.runner_token(NAME)
    assert missing(wanted, registered) == []


def missing(wanted: dict[str, Any], given: dict[str, Any], path: str = "") -> list[str]:
    """Return the keys of a table that another one has not, or with another value."""
    found = []
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            found += missing(value, given[key], f"{path}{key}.")
        elif value and given.get(key) != value:
            found.append(f"{path}{key}")
    return found


def rules(namespace: str) -> dict[str, list[str]]:
    """Return what the manager's account may do with objects of the core group, by resource."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    account = f"--as=system:serviceaccount:{RUNNER}:{NAME}"
    create = (account, "create", "--validate=false", "-o", "json", "-f", "-")
    answer = cluster.kubectl(*create, stdin=json.dumps(review))
    status = json.loads(answer)["status"]
    assert not status["incomplete"]
    return {
        resource: sorted(rule["verbs"])
        for rule in status["resourceRules"]
        if "" in rule.get("apiGroups", ())
        for resource in rule["resources"]
    }


def test_the_role_allows_what_the_executor_needs_and_nothing_else() -> None:
    assert rules(JOBS) == {rule["resources"][0]: sorted(rule["verbs"]) for rule in RBAC_RULES}
    assert rules(RUNNER) == rules("gitlab-runner-docker") == rules("default") == {}


def jobs_pod(number: int) -> Any:
    """Return the pod of a job."""
    annotation = "job.runner.gitlab.com/id"
    pods = get("pods", JOBS)["items"]
    (pod,) = [pod for pod in pods if pod["metadata"]["annotations"][annotation] == str(number)]
    return pod


def ended(number: int) -> bool:
    return bool(jobs_pod(number)["status"]["phase"] == "Failed")


def secrets() -> list[str]:
    return [item["metadata"]["name"] for item in get("secrets", JOBS)["items"]]


def test_a_manager_that_is_replaced_waits_for_its_jobs() -> None:
    """The new one takes jobs meanwhile."""
    with Held(NAME) as held:
        old = the_pod(RUNNER, "deployment", NAME)["metadata"]["name"]
        cluster.kubectl("-n", RUNNER, "delete", "pod", old, "--wait=false")
        cluster.rollout(RUNNER, f"deployment/{NAME}")
        assert gitlab.run(job("true"), NAME).succeeded
        assert gitlab.state(held.number) == "running"
        held.release()
        assert held.result().succeeded
    wait_until(
        "the old manager has ended",
        lambda: old not in cluster.kubectl("-n", RUNNER, "get", "pods", "-o", "name"),
    )


def test_a_manager_that_is_killed_leaves_its_jobs() -> None:
    """It takes new jobs; the pod of the old one ends at the job's timeout, and stays."""
    registry = Variable("DOCKER_AUTH_CONFIG", '{"auths": {"registry.invalid": {"auth": "dTpw"}}}')
    with Held(NAME, timeout_seconds=60, variables=(registry,)) as lost:
        kill(RUNNER, "deployment", NAME)
        assert gitlab.run(job("true"), NAME).succeeded
        wait_until("the pod has ended", lambda: ended(lost.number), 120)
        assert jobs_pod(lost.number)["status"]["reason"] == "DeadlineExceeded"
        assert gitlab.state(lost.number) == "running", "GitLab ends it after an hour"
    assert secrets()
    # What docs/faults.md tells to do; the Secrets go with the pod that owns them.
    cluster.kubectl("-n", JOBS, "delete", "pods", "--field-selector=status.phase=Failed")
    wait_until("the job's Secrets are gone", lambda: not secrets())
