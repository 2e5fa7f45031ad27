"""Several shared daemons on the lab: each project keeps to its own, and one more disturbs nobody.

The tests run in the order of this file: a later one finds the layers of an earlier one.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pulumi
import pytest
from gitlab_runner_k8s import RunnerPlatform
from pulumi import automation as auto

from lab import cluster, gitlab, images, verify
from lab.gitlab import Git, Job, Result
from tests.e2e import runners, stacks
from tests.jump_hash import jump
from tests.required import needs_lab

pytestmark = pytest.mark.lab
NAME = PROJECT = "replicas"
RUNNER, JOBS, DAEMON = (f"{NAME}-{role}" for role in ("runner", "jobs", "daemon"))
REGISTRY = "registry.lab.svc.cluster.local:5000"
FILES = {"Dockerfile": f"FROM {REGISTRY}/base:12\nRUN date +%s%N > /a\nRUN date > /b\n".encode()}


def project(*daemons: int) -> int:
    """Return a project that is on one daemon of two, and on one of three."""
    return next(
        number for number in range(1, 1000) if (jump(number, 2), jump(number, 3)) == daemons
    )


FIRST, SECOND, MOVED = project(0, 0), project(1, 1), project(0, 2)


class Platform:
    """The stack, with a number of daemons that can be changed."""

    replicas = 2
    stack: auto.Stack

    def program(self) -> None:
        """Declare the platform."""
        RunnerPlatform(
            NAME,
            {
                "gitlab_url": gitlab.URL,
                "runner_token": pulumi.Output.secret(gitlab.runner_token(NAME)),
                "runner": runners.settings(),
                "cache": {"backend": "none"},
                "docker_daemon": {
                    "replicas": self.replicas,
                    "image": images.reference("docker"),
                    "accept_shared_nodes": True,
                    "volume_size": "2Gi",
                    "insecure_registries": [REGISTRY],
                    "termination_grace_period_seconds": 120,
                    "resources": {"cpu_request": "50m", "memory_request": "128Mi"},
                },
                "namespaces": {"runner": RUNNER, "jobs": JOBS, "daemon": DAEMON},
                "network": {"allow_insecure_gitlab_url": True, "egress_cidrs": ["10.0.0.0/8"]},
                "allow_volume_deletion": True,
            },
        )

    def update(self, replicas: int) -> dict[str, int]:
        """Deploy another number of daemons; return how many resources were changed, and how."""
        self.replicas = replicas
        changes = self.stack.up().summary.resource_changes or {}
        return {str(getattr(key, "value", key)): number for key, number in changes.items()}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    needs_lab()
    made = Platform()
    folder = tmp_path_factory.mktemp("stack")
    try:
        with stacks.deployed(made.program, PROJECT, folder) as made.stack:
            yield made
    finally:
        cluster.give_volumes_back(DAEMON)


Build = Callable[[int], tuple[str, int]]


@pytest.fixture
def build(platform: Platform) -> Build:
    """Return a function that builds in a project; it tells the daemon, and the steps reused."""

    def start(project_id: int) -> tuple[str, int]:
        name = "docker info --format '{{.Name}}'"
        job = Job(
            "build",
            Git(gitlab.push(FILES)),
            project_id,
            gitlab.PROJECT,
            ("docker build --progress plain .", f'echo "script: $({name})"'),
            after_script=(f'echo "after_script: $({name})"',),
            timeout_seconds=240,
        )
        result = gitlab.run(job, NAME)
        assert result.succeeded, result.text
        assert said(result, "after_script") == said(result, "script")
        return said(result, "script"), verify.read_trace(result).reused

    return start


def said(result: Result, key: str) -> str:
    (found,) = [
        line.text.removeprefix(f"{key}: ")
        for line in result.trace
        if line.text.startswith(f"{key}: ")
    ]
    return found


def daemons() -> dict[str, str]:
    """Return the daemons' pods, and when their containers were started."""
    items = json.loads(cluster.kubectl("-n", DAEMON, "get", "pods", "-o", "json"))["items"]
    return {
        pod["metadata"]["name"]: str(
            [one["state"]["running"]["startedAt"] for one in pod["status"]["containerStatuses"]]
        )
        for pod in items
    }


def test_each_project_keeps_to_a_daemon(build: Build) -> None:
    assert build(FIRST) == (f"{NAME}-docker-0", 0)
    assert build(SECOND) == (f"{NAME}-docker-1", 0)
    assert build(FIRST) == (f"{NAME}-docker-0", 2)
    assert build(SECOND) == (f"{NAME}-docker-1", 2)


def test_one_more_restarts_none_and_moves_its_share_alone(platform: Platform, build: Build) -> None:
    before = daemons()
    assert set(before) == {f"{NAME}-docker-{number}" for number in range(2)}
    changes = platform.update(3)
    # The StatefulSet and the release; a Service and a claim's patch.
    assert {key: changes.get(key) for key in ("update", "create")} == {"update": 2, "create": 2}
    assert not {"delete", "replace"} & set(changes)
    after = daemons()
    assert set(after) - set(before) == {f"{NAME}-docker-2"}
    assert {name: after[name] for name in before} == before
    assert build(MOVED) == (f"{NAME}-docker-2", 0)
    assert build(FIRST) == (f"{NAME}-docker-0", 2)
    assert build(SECOND) == (f"{NAME}-docker-1", 2)


def test_one_less_leaves_the_others_and_its_volume(platform: Platform, build: Build) -> None:
    before = daemons()
    platform.update(2)
    after = daemons()
    assert after == {name: start for name, start in before.items() if not name.endswith("-2")}
    claims = cluster.kubectl("-n", DAEMON, "get", "persistentvolumeclaims", "-o", "name")
    assert f"/data-{NAME}-docker-2\n" in f"{claims}\n"
    assert build(MOVED) == (f"{NAME}-docker-0", 2)
    assert build(SECOND) == (f"{NAME}-docker-1", 2)


def test_it_takes_its_layers_up_again(platform: Platform, build: Build) -> None:
    platform.update(3)
    assert build(MOVED) == (f"{NAME}-docker-2", 2)


def test_a_second_update_changes_nothing(platform: Platform) -> None:
    assert set(platform.update(3)) == {"same"}


def slow_build(started: threading.Event) -> Result:
    """Build in the first daemon's project for a while; tell when it has come to its slow step."""
    # A step that an earlier run ended is in the build cache: each run has one of its own.
    step = f"FROM {REGISTRY}/base:12\nRUN echo slow-{time.time_ns()} && sleep 20\n"
    job = Job(
        "slow",
        Git(gitlab.push({"Dockerfile": step.encode()})),
        FIRST,
        gitlab.PROJECT,
        ("docker build --progress plain .", 'echo "script: $DOCKER_HOST"'),
        timeout_seconds=240,
    )

    def note(line: str) -> None:
        # The step itself has its number before it, the Dockerfile's text has not.
        if "] RUN echo slow-" in line:
            started.set()

    return gitlab.run(job, NAME, note)


def test_two_and_back_let_a_build_on_the_first_end(platform: Platform) -> None:
    first = f"{NAME}-docker-0"
    platform.update(1)
    for replicas in (2, 1):
        before = daemons()[first]
        started = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(slow_build, started)
            assert started.wait(120), "the build did not come to its slow step"
            changes = platform.update(replicas)
            result = building.result()
        assert result.succeeded, result.text
        assert said(result, "script") == f"tcp://{NAME}-docker.{DAEMON}.svc.cluster.local:2376"
        assert changes["replace"] == 2, "the server's certificate and its request"
        after = daemons()
        assert len(after) == replicas
        assert after[first] != before
