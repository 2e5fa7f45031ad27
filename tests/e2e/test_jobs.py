"""Jobs on the lab, run as the deployed runner would: with its configuration and its permissions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from lab import cluster, gitlab
from lab.jobs import Cache, Git, Job, Manager, Result, Service, Variable, find, run
from tests.required import needs_lab

pytestmark = pytest.mark.lab
JOBS = "gitlab-runner-jobs"


@pytest.fixture(scope="module")
def manager() -> Manager:
    needs_lab()
    return find("gitlab-runner", "gitlab-runner")


@pytest.fixture(scope="module")
def git(manager: Manager) -> Git:
    return Git(gitlab.REPOSITORY, gitlab.push({"README.md": b"hello\n"}))


@pytest.fixture
def execute(manager: Manager, git: Git) -> Callable[..., Result]:
    """Return a function that runs a job of some commands."""

    def start(*commands: str, on: Manager = manager, **fields: Any) -> Result:
        made = {"timeout_seconds": 120, **fields}
        return run(on, Job(900, "try", git, 43, gitlab.PROJECT, commands, **made))

    return start


def changed(manager: Manager, **tables: Any) -> Manager:
    """Return the manager with changes to the tables of its configuration."""
    return replace(manager, runner={**manager.runner, **tables})


def test_a_job_has_its_sources_the_daemon_and_no_token(execute: Callable[..., Result]) -> None:
    result = execute(
        "grep hello README.md",
        "docker version --format 'daemon {{.Server.Os}}'",
        "test ! -e /var/run/secrets/kubernetes.io/serviceaccount/token",
        after_script=('echo "after $CI_JOB_STATUS"',),
    )
    assert result.succeeded, result.text
    assert "daemon linux" in result.text
    assert "after success" in result.text


def test_nothing_of_a_job_is_left(execute: Callable[..., Result]) -> None:
    assert execute("true").succeeded
    left = cluster.kubectl("-n", JOBS, "get", "pods,secrets", "-o", "name").split()
    assert not [name for name in left if "runner-" in name and "project-" in name]


def test_a_failing_script_fails_the_job_with_its_code(execute: Callable[..., Result]) -> None:
    result = execute("(exit 7)", "echo never", after_script=('echo "after $CI_JOB_STATUS"',))
    assert (result.failure_reason, result.exit_code) == ("script_failure", 7)
    assert "after failed" in result.text
    assert "\nnever" not in result.text


def test_a_job_that_takes_too_long_is_stopped(execute: Callable[..., Result]) -> None:
    result = execute("sleep 60", timeout_seconds=15)
    assert result.failure_reason == "job_execution_timeout"


def test_an_image_that_is_not_there_fails_the_job(execute: Callable[..., Result]) -> None:
    result = execute("true", image="lab.invalid/missing:1")
    assert result.failure_reason == "image_pull_failure"


def test_masked_values_are_not_shown(execute: Callable[..., Result]) -> None:
    secret = Variable("KEY", "very-secret-value", public=False, masked=True)
    result = execute('echo "key $KEY"', variables=(secret,))
    assert "key [MASKED]" in result.text
    assert "very-secret-value" not in result.text


def test_a_service_runs_beside_the_job(manager: Manager, execute: Callable[..., Result]) -> None:
    script = (
        "use IO::Socket::INET; $SIG{TERM} = sub { exit };"
        " my $s = IO::Socket::INET->new(LocalPort => 7777, Listen => 5, ReuseAddr => 1);"
        " while (my $c = $s->accept) { print $c qq(served\\n); close $c }"
    )
    service = Service(
        manager.runner["kubernetes"]["image"],
        alias="side",
        entrypoint=("perl", "-e", script),
        variables=(Variable("HEALTHCHECK_TCP_PORT", "7777"),),
    )
    result = execute("cat < /dev/tcp/side/7777", services=(service,))
    assert result.succeeded, result.text
    assert "\nserved" in result.text


def test_a_cache_goes_from_one_job_to_the_next(execute: Callable[..., Result]) -> None:
    entry = Cache("e2e-jobs-non_protected", ("vendor/",))
    first = execute("mkdir -p vendor && echo kept > vendor/file", cache=(entry,))
    assert first.saved == {entry.key: True}, first.text
    second = execute("cat vendor/file", cache=(replace(entry, policy="pull"),))
    assert second.restored == {entry.key: True}, second.text
    assert second.saved == {}
    assert "\nkept" in second.text


def test_a_store_that_fails_is_a_warning(manager: Manager, execute: Callable[..., Result]) -> None:
    table = manager.runner["cache"]
    wrong = {**table, "s3": {**table["s3"], "SecretKey": "wrong"}}
    entry = Cache("e2e-jobs-none-non_protected", ("README.md",))
    result = execute("true", cache=(entry,), on=changed(manager, cache=wrong))
    assert result.succeeded
    assert result.restored == {entry.key: False}
    assert result.saved == {entry.key: False}
    assert "WARNING: Failed to create cache" in result.text


def test_the_jobs_namespace_admits_no_privilege(
    manager: Manager, execute: Callable[..., Result]
) -> None:
    table = {**manager.runner["kubernetes"], "privileged": True}
    result = execute("true", on=changed(manager, kubernetes=table))
    assert result.failure_reason == "runner_system_failure"
    assert "violates PodSecurity" in result.text


@pytest.mark.parametrize(
    "call",
    [
        lambda core: core.list_namespaced_secret(JOBS),
        lambda core: core.list_namespaced_config_map(JOBS),
        lambda core: core.list_namespaced_pod("gitlab-runner-docker"),
        lambda core: core.read_namespaced_secret("gitlab-runner-runner-token", "gitlab-runner"),
        lambda core: core.list_node(),
    ],
    ids=["list secrets", "config maps", "the daemon's pods", "its own token", "nodes"],
)
def test_the_runners_role_allows_nothing_more(manager: Manager, call: Callable[[Any], Any]) -> None:
    with pytest.raises(ApiException) as caught:
        call(manager.api())
    assert caught.value.status == 403
