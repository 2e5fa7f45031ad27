"""What breaks, on the lab: a job or an update fails with a clear word, and nothing is lost.

Each test's docstring says what is expected, as docs/faults.md does. Each leaves the platform as it
found it.
"""

import datetime as dt
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pulumi_kubernetes as k8s
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pulumi import automation as auto

from lab import cluster, engine, gitlab, images, process, up
from lab.certificates import write_private
from lab.gitlab import Cache, Result
from lab.paths import ROOT, STATE
from tests.e2e import stacks
from tests.e2e.held import Held, job
from tests.e2e.test_platform import (
    PREFIX,
    Select,
    changed,
    client_context,
    docker_version,
    get,
    secret,
)
from tests.required import needs_lab

pytestmark = [pytest.mark.lab, pytest.mark.alone]
RUNNER, JOBS = "gitlab-runner", "gitlab-runner-jobs"
CACHE, DOCKER = "gitlab-runner-cache", "gitlab-runner-docker"
BASE = next(
    line for line in (ROOT / "lab/sample/Dockerfile").read_text().splitlines() if "FROM" in line
)
Execute = Callable[..., Result]


@pytest.fixture(scope="module")
def select() -> Select:
    needs_lab()
    environment = engine.environment()
    return lambda changes=None: up.select(environment, changes)


def volume(namespace: str) -> str:
    """Return the volume of the one claim in a namespace, which must have it."""
    (claim,) = get("pvc", namespace)["items"]
    assert claim["status"]["phase"] == "Bound"
    name: str = claim["spec"]["volumeName"]
    return name


@pytest.fixture(scope="module", autouse=True)
def volumes() -> dict[str, str]:
    """Return the volumes as they are before the first fault."""
    needs_lab()
    return {namespace: volume(namespace) for namespace in (CACHE, DOCKER)}


@pytest.fixture
def execute(select: Select) -> Execute:
    """Return a function that runs a job of some commands."""

    def start(
        *commands: str,
        files: dict[str, bytes] | None = None,
        runner: str = RUNNER,
        show: Callable[[str], object] | None = None,
        **fields: Any,
    ) -> Result:
        return gitlab.run(job(*commands, files=files, **fields), runner, show)

    return start


def wait_until(what: str, check: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what}: not so after {seconds:.0f} s"
        time.sleep(0.5)


def labels_of(namespace: str, kind: str, name: str) -> str:
    """Return the selector of a workload's pods, as kubectl takes it."""
    selector = get(kind, namespace, name)["spec"]["selector"]["matchLabels"]
    return ",".join(f"{key}={value}" for key, value in selector.items())


def live_pods(namespace: str, kind: str, name: str) -> list[Any]:
    """Return the pods of a workload that are not going away."""
    labels = labels_of(namespace, kind, name)
    text = cluster.kubectl("-n", namespace, "get", "pods", "-l", labels, "-o", "json")
    return [one for one in json.loads(text)["items"] if "deletionTimestamp" not in one["metadata"]]


def the_pod(namespace: str, kind: str, name: str) -> Any:
    """Return the one pod of a workload that is not going away."""
    (pod,) = live_pods(namespace, kind, name)
    return pod


def kill(namespace: str, kind: str, name: str) -> None:
    """Kill a workload's container without a word of warning; return when it is ready again."""

    def container() -> Any:
        (status,) = the_pod(namespace, kind, name)["status"]["containerStatuses"]
        return status

    before = container()
    images.ctr("tasks", "kill", "-s", "SIGKILL", before["containerID"].partition("://")[2])
    wait_until(
        f"{name} is ready again",
        lambda: container()["restartCount"] > before["restartCount"] and container()["ready"],
    )


def scale(namespace: str, kind: str, name: str, replicas: int) -> None:
    cluster.kubectl("-n", namespace, "scale", f"{kind}/{name}", f"--replicas={replicas}")
    if replicas:
        cluster.rollout(namespace, f"{kind}/{name}")
    else:
        labels = labels_of(namespace, kind, name)
        cluster.kubectl(
            "-n", namespace, "wait", "--for=delete", "pod", "-l", labels, "--timeout=120s"
        )


def entry(name: str, policy: str = "pull-push") -> Cache:
    return Cache(f"fault-{name}", ("kept/",), policy)


def cached(execute: Execute, name: str) -> Result:
    return execute("mkdir -p kept && echo kept > kept/file", cache=(entry(name),))


def test_the_daemon_is_killed_in_a_build(execute: Execute) -> None:
    """The job fails and says why; the next finds the layers that were done."""
    dockerfile = f"{BASE}\nRUN echo done > /done\nARG SLOW=0\nRUN echo slow-step && sleep $SLOW\n"
    files = {"Dockerfile": dockerfile.encode()}
    seen = threading.Event()
    result: list[Result] = []

    def note(line: str) -> None:
        if "RUN echo slow-step" in line and "[" in line:
            seen.set()

    def build() -> None:
        command = "docker build --progress plain --build-arg SLOW=120 ."
        result.append(execute(command, files=files, show=note))

    thread = threading.Thread(target=build)
    thread.start()
    assert seen.wait(120), "the build did not come to its slow step"
    kill(DOCKER, "statefulset", DOCKER)
    thread.join(180)
    assert result[0].failure_reason == "script_failure"
    assert any(word in result[0].text for word in ("error reading from server", "EOF", "closed"))
    again = execute("docker build --progress plain --build-arg SLOW=0 .", files=files)
    assert again.succeeded, again.text
    assert "CACHED" in again.text


def test_the_store_is_down(execute: Execute) -> None:
    """Jobs go on without their cache, and say so; afterwards it is all there again."""
    assert cached(execute, "down").saved == {entry("down").key: True}
    name = "gitlab-runner-cache-minio"
    scale(CACHE, "statefulset", name, 0)
    try:
        result = execute("true", cache=(entry("down"),))
    finally:
        scale(CACHE, "statefulset", name, 1)
    assert result.succeeded, result.text
    assert result.restored == {entry("down").key: False}
    assert "WARNING" in result.text
    after = execute("cat kept/file", cache=(entry("down", "pull"),))
    assert after.succeeded, after.text
    assert after.restored == {entry("down").key: True}


def volume_of(namespace: str) -> Path:
    (claim,) = get("pvc", namespace)["items"]
    volume = get("pv", "default", claim["spec"]["volumeName"])
    path = Path(volume["spec"]["local"]["path"])
    assert path.is_relative_to(STATE)
    return path


def test_the_stores_volume_is_lost(select: Select, execute: Execute) -> None:
    """Jobs go on, though the store does not know the runner's user any more; running the
    bootstrap again makes bucket, policy and user anew.
    """
    name = "gitlab-runner-cache-minio"
    scale(CACHE, "statefulset", name, 0)
    for path in volume_of(CACHE).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    scale(CACHE, "statefulset", name, 1)
    result = cached(execute, "lost")
    assert result.succeeded, result.text
    assert result.saved == {entry("lost").key: False}
    stack = select()
    (job,) = [
        resource["urn"]
        for resource in stack.export_stack().deployment["resources"]  # type: ignore[index]
        if resource["type"] == "kubernetes:batch/v1:Job"
    ]
    assert changed(stack.up(replace=[job]))["replace"] == 1
    assert cached(execute, "lost").saved == {entry("lost").key: True}


def exec_in(namespace: str, pod: str, script: str) -> str:
    return cluster.kubectl("-n", namespace, "exec", pod, "--", "/bin/sh", "-c", script)


@pytest.fixture
def small_volume(select: Select) -> Iterator[None]:
    """Give the daemon a volume of 256 MiB in place of its own, which comes back as it was."""
    path = volume_of(DOCKER)
    scale(DOCKER, "statefulset", DOCKER, 0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "fault", str(path)], check=True)
    try:
        scale(DOCKER, "statefulset", DOCKER, 1)
        yield
    finally:
        scale(DOCKER, "statefulset", DOCKER, 0)
        subprocess.run(["umount", str(path)], check=True)
        scale(DOCKER, "statefulset", DOCKER, 1)


def test_the_daemons_volume_is_full(small_volume: None, execute: Execute) -> None:
    """A build says so; the daemon starts on the full volume; with room, builds work again."""
    files = {"Dockerfile": b"FROM scratch\nCOPY big /\n"}
    big = "head -c 200M /dev/urandom > big"
    result = execute(f"{big} && docker build --progress plain .", files=files)
    assert result.failure_reason == "script_failure"
    assert "no space left on device" in result.text
    pod = the_pod(DOCKER, "statefulset", DOCKER)["metadata"]["name"]
    fill = "dd if=/dev/zero of=/var/lib/docker/fill bs=1M; df -Pk /var/lib/docker"
    assert "100%" in exec_in(DOCKER, pod, f"({fill}) 2>&1")
    # The old pod ends, and a new one has to start with nothing free but what was set aside.
    cluster.kubectl("-n", DOCKER, "delete", "pod", pod)
    wait_until(
        "the daemon answers on its full volume",
        lambda: (
            the_pod(DOCKER, "statefulset", DOCKER)["status"]
            .get("containerStatuses", [{}])[0]
            .get("ready", False)
        ),
    )
    logs = cluster.kubectl("-n", DOCKER, "logs", pod, "-c", "make-room")
    assert "freeing the space that was reserved" in logs
    exec_in(DOCKER, pod, "rm /var/lib/docker/fill")
    small = {"Dockerfile": b"FROM scratch\nCOPY small /\n", "small": b"x"}
    again = execute("docker build --progress plain .", files=small)
    assert again.succeeded, again.text


def issued(stack: auto.Stack, folder: Path, valid_until: dt.datetime) -> tuple[Path, Path]:
    """Issue a client's certificate by the daemon's own authority, whose key is in the state."""
    deployment: Any = stack.export_stack().deployment
    found = {
        resource["type"]: resource["outputs"]
        for resource in deployment["resources"]
        if resource["urn"].endswith("::gitlab-runner-docker-ca")
    }

    pem = json.loads(
        found["tls:index/privateKey:PrivateKey"]["privateKeyPem"]["plaintext"]
    ).encode()
    authority_key: Any = serialization.load_pem_private_key(pem, None)
    authority = x509.load_pem_x509_certificate(
        found["tls:index/selfSignedCert:SelfSignedCert"]["certPem"].encode()
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_until - dt.timedelta(days=1))
        .not_valid_after(valid_until)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (
        write_private(folder / "c.crt", certificate.public_bytes(serialization.Encoding.PEM)),
        write_private(folder / "c.key", private),
    )


def test_a_clients_certificate_has_expired(select: Select, tmp_path: Path) -> None:
    """The daemon refuses it; the same certificate with time left is taken."""
    now = dt.datetime.now(dt.UTC)
    fresh = issued(select(), tmp_path / "fresh", now + dt.timedelta(hours=1))
    assert docker_version(client_context(tmp_path, *fresh)) == 200
    stale = issued(select(), tmp_path / "stale", now - dt.timedelta(hours=1))
    with pytest.raises((URLError, ssl.SSLError, ConnectionError)) as caught:
        docker_version(client_context(tmp_path, *stale))
    assert "certificate" in str(caught.value) or "reset" in str(caught.value)


def uid(namespace: str, kind: str, name: str) -> str:
    return str(the_pod(namespace, kind, name)["metadata"]["uid"])


@contextmanager
def rolls_once(namespace: str, kind: str, name: str) -> Iterator[None]:
    """Hold that a workload's pods are made anew exactly once."""

    def state() -> tuple[int, str]:
        generation: int = get(kind, namespace, name)["metadata"]["generation"]
        return generation, uid(namespace, kind, name)

    generation, pod = state()
    yield

    def is_new() -> bool:
        return any(
            one["metadata"]["uid"] != pod
            and any(status["ready"] for status in one["status"].get("containerStatuses", []))
            for one in live_pods(namespace, kind, name)
        )

    # The provider may return before the controller has seen the change.
    wait_until("the new pod is ready", is_new)
    assert state()[0] == generation + 1


def test_certificates_are_rotated(select: Select, execute: Execute) -> None:
    """One update, the daemon's pod rolls once, its layers stay, the next job works."""
    files = {"Dockerfile": f"{BASE}\nRUN echo rotation > /rotation\n".encode()}
    build = "docker build --progress plain ."
    assert execute(build, files=files).succeeded
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    shorter = {f"{PREFIX}dockerDaemon": {**settings, "certificateValidityHours": 2000}}
    with rolls_once(DOCKER, "statefulset", DOCKER):
        summary = changed(select(shorter).up())
        assert summary["replace"] == 2, "the server's and the client's certificate"
        assert "delete" not in summary
        result = execute(build, files=files)
        assert result.succeeded, result.text
        assert "CACHED" in result.text
    select().up()


def client_files(folder: Path) -> tuple[Path, Path]:
    """Write the jobs' certificate and its key into a new folder."""
    folder.mkdir()
    for file, text in secret(JOBS, f"{DOCKER}-client").items():
        (folder / file).write_text(text)
    return folder / "cert.pem", folder / "key.pem"


def test_a_stolen_client_certificate_is_revoked(
    select: Select, execute: Execute, tmp_path: Path
) -> None:
    """The documented command makes a new authority; the layers stay, and the next job works."""
    build = ("docker build --progress plain .", {"Dockerfile": f"{BASE}\nRUN true\n".encode()})
    assert execute(build[0], files=build[1]).succeeded
    stolen = client_files(tmp_path / "stolen")
    assert docker_version(client_context(tmp_path, *stolen)) == 200
    volume = get("pvc", DOCKER, f"data-{DOCKER}-0")["spec"]["volumeName"]
    stack = select()
    with rolls_once(DOCKER, "statefulset", DOCKER):
        stack.up(replace=["**PrivateKey::*-docker-ca"])
    assert get("pvc", DOCKER, f"data-{DOCKER}-0")["spec"]["volumeName"] == volume
    with pytest.raises((URLError, ssl.SSLError, ConnectionError)):
        docker_version(client_context(tmp_path, *stolen))
    new = client_files(tmp_path / "new")
    assert docker_version(client_context(tmp_path, *new)) == 200
    result = execute(build[0], files=build[1])
    assert result.succeeded, result.text
    assert "CACHED" in result.text
    assert set(changed(stack.up())) == {"same"}


def credentials() -> tuple[str, str]:
    """Return the runner's own key of the store."""
    files = secret(RUNNER, f"{CACHE}-credentials")
    return files["accesskey"], files["secretkey"]


def listed(access_key: str, secret_key: str) -> str:
    """Return what the store says to a key that lists the bucket."""
    pod = the_pod(CACHE, "statefulset", f"{CACHE}-minio")["metadata"]["name"]
    list_bucket = (
        "read -r user password; export MC_CONFIG_DIR=/tmp/mc"
        ' MC_HOST_it="http://$user:$password@localhost:9000";'
        " { mc ls it/runner > /dev/null && echo listed; } 2>&1 || true"
    )
    shell = ("exec", "-i", pod, "--", "sh", "-c", list_bucket)
    return cluster.kubectl("-n", CACHE, *shell, stdin=f"{access_key} {secret_key}\n")


def test_the_stores_key_is_rotated(select: Select, execute: Execute) -> None:
    """One update, the runner's pod rolls once; the next job has its cache, the old key nothing."""
    assert cached(execute, "key").saved == {entry("key").key: True}
    stack = select()
    passwords = [
        resource["urn"]
        for resource in stack.export_stack().deployment["resources"]  # type: ignore[index]
        if resource["urn"].endswith(("cache-user-password", "cache-user-name"))
    ]
    assert len(passwords) == 2
    key = credentials()
    assert listed(*key) == "listed\n"
    with rolls_once(RUNNER, "deployment", RUNNER):
        stack.up(replace=passwords)
    assert "does not exist in our records" in listed(*key)
    assert listed(*credentials()) == "listed\n"
    result = execute("cat kept/file", cache=(entry("key", "pull"),))
    assert result.succeeded, result.text
    assert result.restored == {entry("key").key: True}
    assert set(changed(stack.up())) == {"same"}


def test_the_runners_token_is_rotated(select: Select, execute: Execute) -> None:
    """One update, the runner's pod rolls once; it takes the new token's jobs and no others."""
    stack = select()
    token = auto.ConfigValue(gitlab.runner_token("rotated"), secret=True)
    stack.set_config("runnerToken", token)
    try:
        with rolls_once(RUNNER, "deployment", RUNNER):
            summary = changed(stack.up())
        assert summary.pop("same") > 30
        assert summary == {"update": 2}, "the token's Secret and the release"
        old = gitlab.submit(job("true"))
        assert execute("true", runner="rotated").succeeded
        assert gitlab.state(old) == "pending"
        gitlab.cancel(old)
    finally:
        select().up()


def test_the_quota_is_reached(execute: Execute) -> None:
    """The job fails with the quota's name; the next one, with room, works."""
    cluster.kubectl("-n", JOBS, "create", "quota", "fault", "--hard=pods=0")
    try:
        wait_until(
            "the quota is counted",
            lambda: bool(get("resourcequota", JOBS, "fault").get("status", {}).get("hard")),
        )
        result = execute("true")
    finally:
        cluster.kubectl("-n", JOBS, "delete", "quota", "fault")
    assert result.failure_reason == "runner_system_failure"
    assert "exceeded quota: fault" in result.text
    assert execute("true").succeeded


def a_change() -> dict[str, Any]:
    settings = up._settings()["config"]
    return {f"{PREFIX}runner": {**settings[f"{PREFIX}runner"], "concurrent": 7}}


def test_the_api_server_restarts_in_an_update_and_in_a_job(select: Select) -> None:
    """The update may fail; the next one ends in what was asked for. The job goes on."""
    stack = select(a_change())
    failed: list[Exception] = []

    def update() -> None:
        try:
            stack.up()
        except auto.errors.CommandError as error:
            failed.append(error)

    thread = threading.Thread(target=update)
    with Held() as job_meanwhile:
        thread.start()
        time.sleep(1)
        process.stop("kube-apiserver")
        cluster.start_api_server()
        thread.join(300)
        assert not thread.is_alive()
        job_meanwhile.release()
        result = job_meanwhile.result()
        assert result.succeeded, result.text
    stack.up()
    assert set(changed(select(a_change()).up())) == {"same"}
    select().up()


def test_a_namespace_of_somebody_else_is_not_taken_over(select: Select) -> None:
    """The preview names it, and the namespace stays as it was."""
    theirs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fault"}}
    cluster.apply(theirs)
    try:
        with pytest.raises(auto.errors.CommandError, match="the namespace 'fault' exists already"):
            select({f"{PREFIX}namespaces": {"jobs": "fault"}}).preview()
        labels = {"kubernetes.io/metadata.name": "fault"}
        assert get("namespace", "default", "fault")["metadata"]["labels"] == labels
    finally:
        cluster.kubectl("delete", "namespace", "fault", "--ignore-not-found")
    select({f"{PREFIX}namespaces": {"jobs": "fault"}}).preview()


def test_a_field_of_somebody_else_is_not_changed(select: Select, tmp_path: Path) -> None:
    """The update stops, and names the object and the field."""
    metadata = {"name": "fault", "namespace": "default"}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}

    def program() -> None:
        named = k8s.meta.v1.ObjectMetaArgs(name="fault", namespace="default")
        k8s.core.v1.ConfigMap("fault", metadata=named, data={"a": "c"})

    cluster.apply(theirs)
    try:
        with (
            pytest.raises(auto.errors.CommandError, match=r"ConfigMap::fault[\s\S]*\.data\.a"),
            stacks.deployed(program, "faults", tmp_path),
        ):
            pass
        assert get("configmap", "default", "fault")["data"] == {"a": "b"}
    finally:
        cluster.kubectl("delete", "configmap", "fault", "--ignore-not-found")


def test_a_job_that_fails_in_an_update_fails_it(select: Select, tmp_path: Path) -> None:
    """The update says which Job, and why."""
    image = images.reference("minio")

    def program() -> None:
        container = k8s.core.v1.ContainerArgs(name="main", image=image, command=["/bin/false"])
        pod = k8s.core.v1.PodSpecArgs(restart_policy="Never", containers=[container])
        k8s.batch.v1.Job(
            "fault",
            metadata=k8s.meta.v1.ObjectMetaArgs(name="fault", namespace="default"),
            spec=k8s.batch.v1.JobSpecArgs(
                backoff_limit=0, template=k8s.core.v1.PodTemplateSpecArgs(spec=pod)
            ),
        )

    with (
        pytest.raises(auto.errors.CommandError, match="BackoffLimitExceeded"),
        stacks.deployed(program, "faults", tmp_path),
    ):
        pass


def engine_process() -> int | None:
    """Return the pid of the engine that this process has started."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    for number in " ".join(path.read_text() for path in children).split():
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        if command[0].endswith(b"pulumi") and b"up" in command:
            return int(number)
    return None


@pytest.fixture
def held(select: Select) -> Iterator[tuple[int, threading.Thread, list[Exception]]]:
    """Yield the pid of an engine in the middle of an update, its thread, and what it fails with."""
    stack, errors, begun = select(a_change()), [], threading.Event()

    def update() -> None:
        try:
            stack.up(on_output=lambda line: begun.set() if "updating" in line else None)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=update)
    thread.start()
    assert begun.wait(120)
    number = engine_process()
    assert number is not None
    yield number, thread, errors
    thread.join(300)
    assert not thread.is_alive()


def test_two_updates_at_once(select: Select, held: Any) -> None:
    """The second is refused as long as the first runs; the first goes through."""
    number, thread, errors = held
    os.kill(number, signal.SIGSTOP)
    try:
        with pytest.raises(auto.errors.CommandError) as caught:
            select(a_change()).refresh()
    finally:
        os.kill(number, signal.SIGCONT)
    assert "currently locked" in str(caught.value)
    thread.join(300)
    assert errors == []
    select().up()


def test_the_engine_is_killed_in_an_update(select: Select, held: Any) -> None:
    """The stack stays locked until it is told otherwise; then an update puts all right."""
    number, thread, errors = held
    os.kill(number, signal.SIGKILL)
    thread.join(300)
    assert errors
    stack = select(a_change())
    with pytest.raises(auto.errors.CommandError) as caught:
        stack.refresh()
    assert "locked" in str(caught.value)
    stack.cancel()
    stack.refresh()
    stack.up()
    assert set(changed(select(a_change()).up())) == {"same"}
    select().up()


def test_nothing_was_lost(select: Select, volumes: dict[str, str]) -> None:
    """After all of it an update has nothing to do, and each volume is the one it was."""
    assert set(changed(select().up())) == {"same"}
    assert {namespace: volume(namespace) for namespace in volumes} == volumes
    mounts = subprocess.run(["mount"], capture_output=True, text=True, check=True).stdout
    assert "fault" not in mounts
