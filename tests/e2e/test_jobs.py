"""Jobs on the lab, through the deployed runner.

A job that needs no other is submitted before the first test, by its name in `_alone`: the runner
runs four at a time.
"""

import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab import cluster, gitlab, images, process, verify
from lab.console import LabError
from lab.gitlab import Artifacts, Cache, Git, Job, Result, Service, Variable
from tests.required import needs_lab

pytestmark = pytest.mark.lab
JOBS = "gitlab-runner-jobs"
BASE = "registry.lab.svc.cluster.local:5000/base:12"
RUN = uuid.uuid4().hex[:12]
FILES = {
    "README.md": b"hello\n",
    ".yarn/releases/yarn.cjs": b"a tracked file below a cache path\n",
    "src/app.c": b"a tracked file, too\n",
    "copied/file": RUN.encode(),
    "Dockerfile": f"FROM {BASE}\nCOPY copied /copied\nRUN stat -c '%a %n' /copied/*\n".encode(),
}
TRACKED = ("test -s .yarn/releases/yarn.cjs", "test -s src/app.c", "test -s README.md")
DAEMON = "docker version --format 'daemon {{.Server.Os}}'"
FLAGS = (
    "FF_PRINT_POD_EVENTS",
    "FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY",
    "FF_KUBERNETES_HONOR_ENTRYPOINT",
    "FF_WAIT_FOR_POD_TO_BE_REACHABLE",
    "FF_USE_DUMB_INIT_WITH_KUBERNETES_EXECUTOR",
)
SERVER = (
    "use IO::Socket::INET; $SIG{TERM} = sub { exit };"
    " my $s = IO::Socket::INET->new(LocalPort => 7777, Listen => 5, ReuseAddr => 1);"
    " while (my $c = $s->accept) { print $c qq(served\\n); close $c }"
)
Execute = Callable[..., Result]


def _caches(*paths: str) -> tuple[Cache, ...]:
    return tuple(Cache(f"{RUN}-{number}", (path,)) for number, path in enumerate(paths))


CACHES = _caches(".yarn", "src/", ".", "vendor/")


def _usual() -> dict[str, Any]:
    """Return a job with something of everything."""
    return {
        "script": (
            "cat README.md",
            DAEMON,
            "test ! -e /var/run/secrets/kubernetes.io/serviceaccount/token",
            f'git clone --quiet "http://gitlab-ci-token:$CI_JOB_TOKEN@{gitlab.REPOSITORY[7:]}" own',
            "git -C own checkout --quiet $CI_COMMIT_SHA && cat own/src/app.c",
            'echo "key $KEY, token $CI_JOB_TOKEN"',
            'cat "$SETTINGS"',
            'echo "expanded $EXPANDED, raw $RAW"',
            "cat < /dev/tcp/side/7777",
            "echo made > artifact.txt",
        ),
        "after_script": ('echo "after $CI_JOB_STATUS"',),
        "variables": (
            Variable("KEY", "very-secret-value", public=False, masked=True),
            Variable("SETTINGS", "first line\nsecond line\n", file=True),
            Variable("EXPANDED", "$CI_COMMIT_REF_NAME"),
            Variable("RAW", "$CI_COMMIT_REF_NAME", raw=True),
        ),
        "services": (
            Service(
                images.reference("docker"),
                alias="side",
                entrypoint=("perl", "-e", SERVER),
                variables=(Variable("HEALTHCHECK_TCP_PORT", "7777"),),
            ),
        ),
        "artifacts": (Artifacts(("artifact.txt",)),),
    }


def _alone() -> dict[str, dict[str, Any]]:
    """Return the jobs that need no other, by name."""
    # The helper reaches the store by a proxy that is not there. Git ignores HTTP_PROXY, and the
    # daemon is reached without it.
    away = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": ".gitlab-runner-docker.svc.cluster.local",
    }
    return {
        "usual": _usual(),
        "no cache yet": {
            "script": (*TRACKED, "mkdir vendor", "echo kept > vendor/file"),
            "cache": CACHES,
        },
        "no store": {
            "script": TRACKED,
            "cache": (Cache(f"{RUN}-away", (".yarn", "src/")),),
            "variables": tuple(Variable(key, value) for key, value in away.items()),
        },
        "fails": {
            "script": ("(exit 7)", "echo never"),
            "after_script": ('echo "after $CI_JOB_STATUS"',),
        },
        "compose": {"script": ('test "$COMPOSE_PROJECT_NAME" = "ci-$CI_JOB_ID"',)},
        "own daemon": {
            "script": ("true",),
            "variables": (Variable("DOCKER_HOST", "tcp://docker:2375"),),
        },
        "networks": {
            # Docker's own pools have room for 30.
            "script": (
                f"for i in $(seq 60); do docker network create {RUN}-$i > /dev/null; done",
                f"docker network inspect bridge {RUN}-60 --format '{{{{json .IPAM.Config}}}}'",
                f"docker network ls -q --filter name={RUN}- | xargs docker network rm > /dev/null",
            )
        },
        "too long": {"script": ("sleep 600",), "timeout_seconds": 15},
        "no image": {"script": ("true",), "image": "lab.invalid/missing:1"},
        "no shell": {
            "script": ("true",),
            "image": images.reference("pause"),
            "variables": (Variable("FF_PRINT_POD_EVENTS", "true"),),
            "timeout_seconds": 30,
        },
        **{
            flag: {"script": ("cat README.md", DAEMON), "variables": (Variable(flag, "true"),)}
            for flag in FLAGS
        },
    }


@pytest.fixture(scope="module")
def git() -> Git:
    needs_lab()
    return Git(gitlab.push(FILES))


def _job(git: Git, fields: Mapping[str, Any]) -> Job:
    return Job(
        **{
            "name": "try",
            "git": git,
            "project_id": gitlab.PROJECT_ID,
            "project_path": gitlab.PROJECT,
            "timeout_seconds": 120,
            **fields,
        }
    )


@pytest.fixture(scope="module")
def ended(git: Git) -> Iterator[Callable[[str], Result]]:
    """Return a function that waits for one of the jobs that need no other."""
    jobs = {name: gitlab.submit(_job(git, fields)) for name, fields in _alone().items()}
    yield lambda name: gitlab.wait(jobs[name], 400)
    for number in jobs.values():
        gitlab.cancel(number)


@pytest.fixture
def execute(git: Git) -> Execute:
    """Return a function that runs a job of some commands."""
    return lambda *script, **fields: gitlab.run(_job(git, {"script": script, **fields}))


@pytest.fixture(scope="module")
def usual(ended: Callable[[str], Result]) -> Result:
    result = ended("usual")
    assert result.succeeded, result.text
    return result


def test_a_job_has_its_sources_the_daemon_and_no_token(usual: Result) -> None:
    assert "\nhello\n" in usual.text
    assert "\ndaemon linux\n" in usual.text
    assert "\nafter success\n" in usual.text


def test_the_jobs_token_clones_the_project(usual: Result) -> None:
    assert "\na tracked file, too\n" in usual.text


def test_masked_values_are_not_shown(usual: Result) -> None:
    assert "\nkey [MASKED], token [MASKED]\n" in usual.text
    assert b"very-secret-value" not in usual.raw
    assert b"glcbt-" not in usual.raw


def test_variables_are_files_and_raw(usual: Result) -> None:
    assert "\nfirst line\nsecond line\n" in usual.text
    assert "\nexpanded main, raw $CI_COMMIT_REF_NAME\n" in usual.text


def test_a_service_runs_beside_the_job(usual: Result) -> None:
    assert "\nserved\n" in usual.text


def test_artifacts_go_to_the_next_job(usual: Result, execute: Execute) -> None:
    with zipfile.ZipFile(io.BytesIO(gitlab.artifacts(usual.number))) as archive:
        assert archive.read("artifact.txt") == b"made\n"
    result = execute("cat artifact.txt", dependencies=(usual.number,))
    assert result.succeeded, result.text
    assert "\nmade\n" in result.text


def _left(result: Result) -> str:
    """Return what is left of a job's pod and of the objects that belong to it."""
    # The runner gives its objects the pod's name, each with a suffix of its own.
    own = result.pod.rpartition("-")[0]
    kinds = "pods,secrets,configmaps,services"
    names = cluster.kubectl("-n", JOBS, "get", kinds, "-o", "name").split()
    return " ".join(name for name in names if own in name)


def test_nothing_of_a_job_is_left(execute: Execute) -> None:
    result = execute("true", project_id=uuid.uuid4().int % 1_000_000_000)
    assert result.succeeded, result.text
    assert result.pod
    process.wait_for("the removal of the job's objects", lambda: not _left(result), 60)


def test_a_cache_miss_leaves_tracked_files_alone(
    ended: Callable[[str], Result], execute: Execute
) -> None:
    """The next job has the cache, and its files are over the checked out ones."""
    first = ended("no cache yet")
    assert first.succeeded, first.text
    assert first.restored == {cache.key: False for cache in CACHES}, first.text
    assert first.saved == {cache.key: True for cache in CACHES}, first.text
    pull = tuple(replace(cache, policy="pull") for cache in CACHES)
    second = execute(*TRACKED, "cat vendor/file", cache=pull)
    assert second.succeeded, second.text
    assert second.restored == {cache.key: True for cache in CACHES}, second.text
    assert second.saved == {}
    assert "\nkept\n" in second.text


def test_a_store_that_fails_is_a_warning(ended: Callable[[str], Result]) -> None:
    """And leaves tracked files alone."""
    result = ended("no store")
    assert result.succeeded, result.text
    assert result.restored == {f"{RUN}-away": False}
    assert result.saved == {f"{RUN}-away": False}
    assert "127.0.0.1:9" in result.text
    assert "\nFailed to create cache\n" in result.text


def test_a_failing_script_fails_the_job_with_its_code(ended: Callable[[str], Result]) -> None:
    result = ended("fails")
    assert (result.failure_reason, result.exit_code) == ("script_failure", 7)
    assert "\nafter failed\n" in result.text
    assert "ERROR: Job failed: command terminated with exit code 7" in result.text
    assert "\nnever\n" not in result.text


def test_a_job_that_takes_too_long_is_stopped(ended: Callable[[str], Result]) -> None:
    result = ended("too long")
    assert result.failure_reason == "job_execution_timeout", result.text


def test_an_image_that_cannot_be_pulled_fails_the_job(ended: Callable[[str], Result]) -> None:
    """The runner has a reason of its own for a registry that is away."""
    result = ended("no image")
    assert result.failure_reason == "runner_external_dependency_failure", result.text
    assert "lab.invalid/missing:1" in result.text


def test_pod_events_say_that_an_image_has_no_shell(ended: Callable[[str], Result]) -> None:
    """Without the flag the log says `ContainersNotReady` until the job's timeout."""
    result = ended("no shell")
    assert result.status == "failed"
    assert "executable file not found" in result.text


@pytest.mark.parametrize("flag", FLAGS)
def test_a_job_may_set_flags_that_ask_more_of_kubernetes(
    flag: str, ended: Callable[[str], Result]
) -> None:
    result = ended(flag)
    assert result.succeeded, result.text
    assert "\nhello\n" in result.text
    assert "\ndaemon linux\n" in result.text
    events = re.search(r"^Normal\s+Started\s", result.text, re.MULTILINE)
    assert bool(events) == (flag == "FF_PRINT_POD_EVENTS"), result.text


def test_each_job_has_a_compose_project_of_its_own(ended: Callable[[str], Result]) -> None:
    result = ended("compose")
    assert result.succeeded, result.text


def test_a_job_with_another_daemon_says_so(ended: Callable[[str], Result]) -> None:
    result = ended("own daemon")
    assert result.succeeded, result.text
    assert "this job does not use the shared daemon: .gitlab-ci.yml or a CI/CD" in result.text


def test_there_is_room_for_many_networks(ended: Callable[[str], Result]) -> None:
    result = ended("networks")
    assert result.succeeded, result.text
    ranges = re.findall(r'"Subnet":"(198\.18\.\d+\.0/24)"', result.text)
    assert len(set(ranges)) == 2, result.text


def test_another_jobs_clone_gives_the_same_layers(execute: Execute) -> None:
    """GitLab's helper clones with umask 0000, and the builder's cache counts the modes."""
    build = ("docker build --progress plain .", "true")
    first = execute(*build)
    assert first.succeeded, first.text
    assert "666 /copied/file" in first.text
    assert verify.read_trace(first).reused == 0, first.text
    second = execute(*build)
    assert second.succeeded, second.text
    assert verify.read_trace(second).reused == 2, second.text


def _running(jobs: list[int]) -> set[int]:
    """Return the jobs that have a running pod."""
    pods = json.loads(cluster.kubectl("-n", JOBS, "get", "pods", "-o", "json"))["items"]
    annotations = [
        pod["metadata"].get("annotations", {})
        for pod in pods
        if pod["status"]["phase"] == "Running"
    ]
    return set(jobs) & {int(table.get("job.runner.gitlab.com/id", 0)) for table in annotations}


def test_four_jobs_run_at_a_time_and_end_when_they_are_canceled(git: Git) -> None:
    """The stack's file says `concurrent: 4`: the fifth waits."""
    job = _job(git, {"script": ("sleep 300",), "timeout_seconds": 300})
    jobs = [gitlab.submit(job) for _ in range(5)]
    try:
        process.wait_for("four running jobs", lambda: len(_running(jobs)) == 4, 240)
        states = sorted(gitlab.state(number) for number in jobs)
    finally:
        for number in jobs:
            gitlab.cancel(number)
    assert states == ["pending", *["running"] * 4]
    assert {gitlab.wait(number, 120).status for number in jobs} == {"canceled"}
    process.wait_for("the removal of the pods", lambda: not _running(jobs), 60)


def test_the_jobs_namespace_admits_no_privilege(git: Git) -> None:
    command = ("run", "privileged", "--image=any", "--privileged", "--dry-run=server")
    with pytest.raises(LabError, match="violates PodSecurity"):
        cluster.kubectl("-n", JOBS, *command)


def test_a_watch_begins_though_only_other_objects_changed() -> None:
    """FF_KUBERNETES_HONOR_ENTRYPOINT watches a pod; an old etcd fails that on a quiet cluster."""
    needs_lab()
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "changed", "namespace": "lab"},
            "data": {"run": RUN},
        }
    )
    watched = cluster.kubectl(
        "get", "--raw", "/api/v1/namespaces/lab/services?watch=1&timeoutSeconds=1"
    )
    assert {json.loads(event)["type"] for event in watched.splitlines()} == {"ADDED"}
