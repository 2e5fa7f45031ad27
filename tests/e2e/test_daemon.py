"""A shared daemon that restarts, on the lab: it waits for its builds, and jobs wait for it."""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gitlab_runner_k8s.daemon import extra_config

from lab import cluster, engine, gitlab, up
from lab.gitlab import Result
from tests import builders
from tests.e2e.held import job
from tests.e2e.test_faults import (
    BASE,
    DOCKER,
    exec_in,
    live_pods,
    scale,
    the_pod,
    uid,
    wait_until,
)
from tests.e2e.test_platform import PREFIX, Select, changed, get, secret
from tests.required import needs_lab

pytestmark = [pytest.mark.lab, pytest.mark.alone]
WAITS = "waiting for the shared daemon"
END_SLEEP = """
for process in /proc/[0-9]*; do
    if [ "$(tr '\\0' ' ' < $process/cmdline)" = "sleep SECONDS " ]; then kill ${process#/proc/}; fi
done
"""
END_SLEEPS = """
for process in /proc/[0-9]*; do
    case $(tr '\\0' ' ' < $process/cmdline) in "sleep "[0-9]*) kill ${process#/proc/} ;; esac
done
"""
DOCKERFILE = (
    f"{BASE}\nRUN echo kept > /kept\nARG SLOW=0\nRUN echo slow-step && sleep $SLOW || true\n"
)


@pytest.fixture(scope="module")
def select() -> Select:
    needs_lab()
    environment = engine.environment()
    return lambda changes=None: up.select(environment, changes)


class Started:
    """A job whose log is read in a thread; a line with the text `until` sets `seen`."""

    def __init__(self, command: str, until: str = "") -> None:
        self.until, self.seen = until, threading.Event()
        made = job(command, files={"Dockerfile": DOCKERFILE.encode()})
        self.result = ThreadPoolExecutor(1).submit(gitlab.run, made, show=self._note)

    def _note(self, line: str) -> None:
        if self.until and self.until in line:
            self.seen.set()

    def end(self) -> Result:
        return self.result.result(400)


def build(slow: int) -> str:
    return f"docker build --progress plain --build-arg SLOW={slow} ."


def still_serves() -> bool:
    """Tell whether the daemon is told to stop, and the Service has it all the same."""
    slices = get("endpointslices", DOCKER)["items"]
    conditions = [one["conditions"] for each in slices for one in each.get("endpoints") or []]
    return conditions == [{"ready": False, "serving": True, "terminating": True}]


def test_certificates_are_renewed_while_jobs_run(select: Select) -> None:
    """The daemon waits for a build, jobs that start meanwhile wait for it, and none fails."""
    assert Started(build(0)).end().succeeded
    before = the_pod(DOCKER, "statefulset", DOCKER)["metadata"]
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    renewed = select({f"{PREFIX}dockerDaemon": {**settings, "certificateValidityHours": 2001}})
    summary: list[dict[str, int]] = []
    # The step itself has its number before it, the Dockerfile's text has not.
    # A step that an earlier run ended is in the build cache: each run has one of its own.
    slow = 1000 + time.time_ns() // 1_000_000 % 1_000_000
    long = Started(build(slow), until="] RUN echo slow-step")
    assert long.seen.wait(120), "the build did not come to its slow step"
    update = threading.Thread(target=lambda: summary.append(changed(renewed.up())))
    update.start()
    try:
        wait_until("the daemon drains", still_serves)
        during = Started(build(1)).end()
        assert not long.result.done(), "the daemon did not wait"
        exec_in(DOCKER, before["name"], END_SLEEP.replace("SECONDS", str(slow)))
        built = long.end()
        wait_until("the old daemon is gone", lambda: not still_serves())
        after = Started(build(2)).end()
        # The update that restores the settings restarts the daemon once more.
        renewed_uid = uid(DOCKER, "statefulset", DOCKER)
    finally:
        update.join(400)
        select().up()
    for result in (during, built, after):
        assert result.succeeded, result.text
        assert "CACHED" in result.text
    assert WAITS not in during.text, "the old daemon still takes what comes"
    (done,) = summary
    assert done["replace"] == 2, "the server's and the client's certificate"
    assert renewed_uid != before["uid"]


def test_a_job_waits_for_the_daemon(select: Select) -> None:
    scale(DOCKER, "statefulset", DOCKER, 0)
    try:
        waiting = Started(build(0), until=WAITS)
        assert waiting.seen.wait(120)
    finally:
        scale(DOCKER, "statefulset", DOCKER, 1)
    result = waiting.end()
    assert result.succeeded, result.text


def prune(name: str, *, timeout: int = 0, hours: int = 0, percent: int = 0) -> str:
    """Run the daemon's pruning once. By default nothing is too young, and the volume is too full.

    The state of an earlier test is not used.
    """
    pod = the_pod(DOCKER, "statefulset", name)
    (sidecar,) = [one for one in pod["spec"]["initContainers"] if one["name"] == "prune"]
    shell, script, directory, _, _, _, state, _ = sidecar["command"]
    own = f"{state}/{uuid.uuid4().hex}"
    run = f"mkdir {own} && exec {shell} {script} {directory} {timeout} {hours} {percent} {own}"
    return cluster.kubectl(
        "-n", DOCKER, "exec", pod["metadata"]["name"], "-c", "prune", "--", shell, "-c", run
    )


KINDS = {
    "image": "image ls --format '{{.Repository}}'",
    "container": "ps --all --format '{{.Names}}'",
    "network": "network ls --format '{{.Name}}'",
    "volume": "volume ls --quiet",
}


def there() -> dict[str, set[str]]:
    """Return what the daemon has, by kind."""
    pod = the_pod(DOCKER, "statefulset", DOCKER)["metadata"]["name"]
    return {
        kind: set(exec_in(DOCKER, pod, f"docker {command}").split())
        for kind, command in KINDS.items()
    }


def test_what_jobs_leave_is_removed_once_their_time_is_over() -> None:
    left = (
        f"{build(0)} --tag prune-runs && {build(3)} --tag prune-unused"
        " && docker run --detach --name prune-runs prune-runs sleep 600"
        " && docker run --name prune-ended --volume /anonymous prune-runs true"
        " && docker volume create prune-named && docker network create prune-unused"
        " && docker volume create buildx_buildkit_job_state"
    )
    result = Started(left).end()
    assert result.succeeded, result.text
    before = there()
    young = prune(DOCKER, timeout=3600, hours=1, percent=99)
    assert there() == before, young

    prune(DOCKER, hours=1, percent=99)
    after = there()
    assert before["container"] >= {"prune-runs", "prune-ended"}
    assert after["container"] == set()
    assert before["network"] - after["network"] == {"prune-unused"}
    assert len(before["volume"] - after["volume"]) == 2, "the anonymous one, and the builder's"
    assert "prune-named" in after["volume"]
    assert before["image"] >= {"prune-runs", "prune-unused"}
    assert after["image"] - {"<none>"} == {"untagged.invalid/image"}, (
        "the images stay, without their names"
    )

    said = prune(DOCKER)
    assert there() == {
        "image": set(),
        "container": set(),
        "network": {"bridge", "host", "none"},
        "volume": set(),
    }
    (line,) = said.splitlines()
    assert re.fullmatch(r"prune: the volume is \d+% full; .*; now \d+% full", line), line
    again = Started(build(3)).end()
    assert again.succeeded, again.text
    assert again.text.count("CACHED") == DOCKERFILE.count("RUN"), again.text


IMAGE = BASE.split()[1]


def test_a_job_cannot_replace_a_base_image() -> None:
    """The stack's file protects the lab's base image."""
    poisoned = Started(
        f"printf 'FROM {IMAGE}\\nRUN touch /poison\\n' | docker build --tag {IMAGE} --tag kept -"
        f" && docker tag kept {IMAGE}"
    ).end()
    assert poisoned.succeeded, poisoned.text
    result = Started(
        f"printf 'FROM {IMAGE}\\nRUN test ! -e /poison && echo {uuid.uuid4()}\\n' | docker build -"
        f" && docker run --rm {IMAGE} test ! -e /poison && docker run --rm kept ls /poison"
        " && docker image rm kept"
    ).end()
    assert result.succeeded, result.text


def test_a_pulled_image_loses_its_name_and_keeps_its_layers() -> None:
    """So a base image is asked for again, and is not loaded again."""
    assert Started(f"docker pull {IMAGE}").end().succeeded
    assert IMAGE.rpartition(":")[0] in there()["image"]
    prune(DOCKER, hours=1, percent=99)
    assert there()["image"] - {"<none>"} == {"untagged.invalid/image"}
    again = Started(f"docker run --rm {IMAGE} true").end()
    assert again.succeeded, again.text
    assert re.search("Already exists|Downloaded newer image", again.text), again.text
    assert "Pull complete" not in again.text


COMPOSE = f"""
services:
  web:
    image: {IMAGE}
    command: sleep infinity
    volumes: [data:/data, /anonymous]
volumes: {{data: }}
"""


def test_the_compose_project_of_a_canceled_job_ends_with_it() -> None:
    before = there()
    up = job(
        "docker compose up --detach --wait && echo is-up; sleep 300",
        files={"compose.yaml": COMPOSE.encode()},
    )
    number = gitlab.submit(up)
    name = f"ci-{number}"

    def mine() -> bool:
        return any(
            one.startswith(name)
            for kind in ("container", "network", "volume")
            for one in there()[kind]
        )

    wait_until("the project is up", lambda: f"{name}-web-1" in there()["container"])
    gitlab.cancel(number)
    assert gitlab.wait(number, 120).status == "canceled"
    wait_until("the project is gone", lambda: not mine())
    after = there()
    assert {**after, "image": set()} == {**before, "image": set()}


def test_a_jobs_own_files_are_not_on_the_daemon() -> None:
    """It would find an empty folder, and what it wrote there would be the next job's."""
    for place in ("$PWD", "/tmp/of-the-job", "/data"):
        result = Started(f"docker run --rm --volume {place}:/x {IMAGE} ls /x").end()
        assert not result.succeeded, result.text
        assert "read-only file system" in result.text
    # What the daemon itself writes for a container has its place.
    run = f"docker run --detach --name exec-$CI_JOB_ID {IMAGE} sleep 60"
    result = Started(f"{run} && docker exec exec-$CI_JOB_ID true").end()
    assert result.succeeded, result.text


@pytest.fixture
def interfaces() -> Iterator[None]:
    """Let others than root make network interfaces, as udev does: RootlessKit makes one."""
    device = Path("/dev/net/tun")
    mode = device.stat().st_mode
    device.chmod(0o666)
    yield
    device.chmod(mode)


def test_a_rootless_daemon_builds_and_runs(select: Select, interfaces: None) -> None:
    """The daemon has a volume of its own, and what the privileged one has built is kept."""
    assert Started(build(0)).end().succeeded
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    rootless = {f"{PREFIX}dockerDaemon": {**settings, "isolation": "rootless"}}
    name = f"{DOCKER}-rootless"
    try:
        select(rootless).up()
        pod = the_pod(DOCKER, "statefulset", name)["metadata"]["name"]
        users = exec_in(DOCKER, pod, "grep -h -A8 '^Name:.dockerd' /proc/[0-9]*/status")
        assert re.findall(r"^Uid:\t(\d+)", users, re.MULTILINE) == ["1000"]
        first = Started(f"{build(1)} --tag rootless && docker run --rm rootless id -u").end()
        assert first.succeeded, first.text
        assert [line.text for line in first.trace if line.text == "0"], "root, in the container"
        assert "unused images: " in prune(name)
        client = ("exec", pod, "-c", "prune", "--", "docker")
        images = cluster.kubectl("-n", DOCKER, *client, "image", "ls", "--quiet")
        assert images == "", "the container that used it was removed by its job"
        again = Started(build(2)).end()
        assert again.succeeded, again.text
        assert "CACHED" in again.text
    finally:
        select().up()
        cluster.kubectl("-n", DOCKER, "delete", "pvc", f"data-{name}-0", "--ignore-not-found")
    kept = Started(build(0)).end()
    assert kept.succeeded, kept.text
    assert "CACHED" in kept.text


def test_the_daemon_reads_every_rule_of_its_build_cache() -> None:
    """A key that it does not know would be passed over, and the rule would remove everything."""
    shown = exec_in(DOCKER, "statefulset/gitlab-runner-docker", "docker buildx inspect default")
    rules = re.split(r"GC Policy rule#\d+:", shown)[1:]
    assert len(rules) == 3
    assert "Keep Duration: 1440h" in rules[0]
    assert all("Max Used Space:" in rule for rule in rules[1:])


def test_the_daemon_knows_every_key_that_extra_daemon_config_may_have() -> None:
    """Docker 29 has three more than the lab's 28."""
    keys = builders.sample(extra_config._KEYS["dockerd"])
    validate = "cat > /run/keys.json; dockerd --validate --config-file /run/keys.json 2>&1; true"
    said = cluster.kubectl(
        *("-n", DOCKER, "exec", "-i", f"statefulset/{DOCKER}", "-c", "docker", "--"),
        *("sh", "-c", validate),
        stdin=json.dumps(keys),
    )
    _, _, unknown = said.partition("don't match any configuration option: ")
    assert set(unknown.strip().split(", ")) == {
        "bridge-accept-fwmark",
        "firewall-backend",
        "min-api-version",
    }


def test_the_daemons_settings_take_effect(select: Select) -> None:
    """Each of them is read back from the daemon itself."""
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    authority = secret("gitlab-runner-jobs", f"{DOCKER}-client")["ca.pem"]
    chosen = {
        "registryCertificates": {"private.example.com:5000": authority},
        "proxy": {"httpsProxy": "http://127.0.0.1:9", "noProxy": ["other.example.com"]},
        "bridgeAddress": "172.30.0.1/24",
        "minimumApiVersion": "1.40",
        "containerLogSize": "1Mi",
        "extraDaemonConfig": json.dumps({"labels": ["team=ci"], "log-opts": {"labels": "team"}}),
    }
    asked = (
        "docker info --format '{{.HTTPSProxy}} {{.NoProxy}} {{.Labels}}';"
        " docker version --format '{{.Server.MinAPIVersion}}';"
        " docker network inspect bridge --format '{{json .IPAM.Config}}';"
        f" docker run --name logged {IMAGE} true;"
        " docker inspect logged --format '{{json .HostConfig.LogConfig.Config}}';"
        " docker rm logged > /dev/null;"
        " docker pull private.example.com:5000/a 2>&1 || true"
    )
    try:
        select({f"{PREFIX}dockerDaemon": {**settings, **chosen}}).up()
        result = Started(asked).end()
        assert result.succeeded, result.text
        pod = the_pod(DOCKER, "statefulset", DOCKER)["metadata"]["name"]
        file = "/etc/docker/certs.d/private.example.com:5000/ca.crt"
        assert exec_in(DOCKER, pod, f"cat {file}") == authority
    finally:
        select().up()
    own = "localhost,127.0.0.1,.svc,.cluster.local,other.example.com"
    for line in (
        f"http://127.0.0.1:9 {own} [team=ci]",
        "1.40",
        '[{"Subnet":"172.30.0.0/24","Gateway":"172.30.0.1"}]',
        '{"labels":"team","max-file":"3","max-size":"1048576"}',
        "proxyconnect tcp: dial tcp 127.0.0.1:9",
    ):
        assert line in result.text


def limit_and_readiness() -> list[tuple[str, bool]]:
    """Return the memory limit of each daemon that is not going away, and whether it is ready."""
    return [
        (
            pod["spec"]["containers"][0]["resources"]["limits"]["memory"],
            pod["status"].get("containerStatuses", [{}])[0].get("ready", False),
        )
        for pod in live_pods(DOCKER, "statefulset", DOCKER)
    ]


def test_a_build_beyond_the_memory_limit_takes_no_other_with_it(select: Select) -> None:
    """On cgroup v1, the kernel kills the largest process. docs/shared-daemon.md tells of v2."""
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    small = {**settings, "resources": {**settings["resources"], "memoryLimit": "1Gi"}}
    eats = "my @kept; push @kept, chr(65 + $_ % 26) x 2**24 for 1 .. 200; sleep 5"
    try:
        select({f"{PREFIX}dockerDaemon": small}).up()
        wait_until("the new daemon is ready", lambda: limit_and_readiness() == [("1Gi", True)])
        before = the_pod(DOCKER, "statefulset", DOCKER)["status"]["containerStatuses"]
        other = Started(build(1000 + time.time_ns() % 1_000_000), until="] RUN echo slow-step")
        assert other.seen.wait(120)
        files = {"Dockerfile": f"FROM {IMAGE}\nRUN perl -e '{eats}'\n".encode()}
        eater = gitlab.run(job("docker build --progress plain --no-cache .", files=files))
        assert not eater.succeeded, eater.text
        assert "exit code: 137" in eater.text
        assert not other.result.done(), "the other build goes on"
        pod = the_pod(DOCKER, "statefulset", DOCKER)
        assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [
            one["restartCount"] for one in before
        ]
        exec_in(DOCKER, pod["metadata"]["name"], END_SLEEPS)
        ended = other.end()
        assert ended.succeeded, ended.text
    finally:
        select().up()
