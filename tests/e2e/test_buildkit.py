"""buildkitd on the lab: a platform that has it in place of a docker daemon, and jobs that build.

The tests run in the order of this file: a later one finds the layers of an earlier one.
"""

import base64
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pulumi
import pytest
from cryptography import x509
from gitlab_runner_k8s import RunnerPlatform
from pulumi import automation as auto

from lab import certificates, cluster, gitlab, images, verify
from lab.gitlab import Result
from lab.toolchain import tool
from tests.e2e import runners, stacks
from tests.e2e.held import job
from tests.required import needs_lab

pytestmark = pytest.mark.lab
NAME = PROJECT = "buildkit-test"
RUNNER, JOBS, DAEMON = (f"{NAME}-{role}" for role in ("runner", "jobs", "daemon"))
POD = f"{NAME}-buildkit-0"
REGISTRY = "registry.lab.svc.cluster.local:5000"
IMAGE = f"{REGISTRY}/{NAME}/app:1"
FILES = {
    "Dockerfile": (
        f"FROM {REGISTRY}/base:12\n"
        "RUN useradd builder && su builder -c 'id -un' && date +%s%N > /built\n"
        "COPY app.c .\n"
        "RUN gcc -o /usr/bin/app app.c && app\n"
    ).encode(),
    "app.c": b'#include <stdio.h>\nint main(void) { return puts("first") < 0; }\n',
}
CHANGED = {**FILES, "app.c": FILES["app.c"].replace(b"first", b"second")}
CERTIFICATES = ",".join(
    f"{option}=$BUILDKIT_CERT_PATH/{file}"
    for option, file in {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}.items()
)
BUILD = (
    f'docker buildx create --name shared --driver remote --driver-opt "{CERTIFICATES}"'
    " $BUILDKIT_HOST",
    f"docker buildx build --builder shared --progress plain --tag {IMAGE} --push .",
    "true",
)
Execute = Callable[..., Result]


def _program() -> None:
    platform = RunnerPlatform(
        NAME,
        {
            "gitlab_url": gitlab.URL,
            "runner_token": pulumi.Output.secret(gitlab.runner_token(NAME)),
            "runner": runners.settings(),
            "cache": {"backend": "none"},
            "buildkit_daemon": {
                "image": images.reference("buildkit"),
                "volume_size": "5Gi",
                "insecure_registries": [REGISTRY],
                "termination_grace_period_seconds": 30,
                "resources": {"cpu_request": "100m", "memory_request": "256Mi"},
            },
            "namespaces": {"runner": RUNNER, "jobs": JOBS, "daemon": DAEMON},
            "network": {"allow_insecure_gitlab_url": True, "egress_cidrs": ["10.0.0.0/8"]},
            "allow_volume_deletion": True,
        },
    )
    pulumi.export("buildkit_host", platform.buildkit_host)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[auto.Stack]:
    needs_lab()
    with stacks.deployed(_program, PROJECT, tmp_path_factory.mktemp("stack")) as made:
        yield made


@pytest.fixture
def execute(stack: auto.Stack) -> Execute:
    """Return a function that runs a job of some commands on the platform's own runner."""

    def start(*commands: str, files: dict[str, bytes] = FILES) -> Result:
        return gitlab.run(job(*commands, files=files), NAME)

    return start


def in_daemon(*command: str) -> str:
    return cluster.kubectl("-n", DAEMON, "exec", POD, "--", *command)


def place(stack: auto.Stack) -> tuple[str, str]:
    """Return the daemon's name and its address."""
    host = stack.outputs()["buildkit_host"].value.split("//")[1].partition(":")[0]
    service = ("get", "service", f"{NAME}-buildkit", "-o", "jsonpath={.spec.clusterIP}")
    return host, cluster.kubectl("-n", DAEMON, *service)


def workers(stack: auto.Stack, folder: Path, *pair: Path) -> subprocess.CompletedProcess[str]:
    """Ask the daemon for its workers, with a client's certificate and key, or with none."""
    host, address = place(stack)
    authority = folder / "ca.pem"
    authority.write_text(client_secret()["ca.pem"])
    flags = [f"--addr=tcp://{address}:1234", f"--tlsservername={host}", f"--tlscacert={authority}"]
    flags += [f"--{name}={path}" for name, path in zip(("tlscert", "tlskey"), pair, strict=False)]
    return subprocess.run(
        [str(tool("buildctl")), *flags, "debug", "workers"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def client_secret() -> dict[str, str]:
    found = cluster.kubectl("-n", JOBS, "get", "secret", f"{NAME}-buildkit-client", "-o=json")
    data = json.loads(found)["data"]
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def test_a_job_builds_and_the_next_one_reuses_its_layers(execute: Execute) -> None:
    first = execute(*BUILD)
    assert first.succeeded, first.text
    cold = verify.read_trace(first)
    assert (cold.steps, cold.reused) == (3, 0), first.text
    second = execute(*BUILD)
    assert second.succeeded, second.text
    warm = verify.read_trace(second)
    assert (warm.steps, warm.reused) == (3, 3), second.text


def test_the_layers_outlive_the_daemons_pod(execute: Execute) -> None:
    """Killed, not stopped: the build after it reuses what comes before the change."""
    cluster.kubectl("-n", DAEMON, "delete", "pod", POD, "--grace-period=1")
    cluster.rollout(DAEMON, f"statefulset/{NAME}-buildkit")
    result = execute(*BUILD, files=CHANGED)
    assert result.succeeded, result.text
    warm = verify.read_trace(result)
    assert (warm.steps, warm.reused) == (3, 1), result.text
    assert "second" in result.text


def test_what_was_pushed_can_be_pulled_and_built_on(execute: Execute) -> None:
    files = {"Dockerfile": f"FROM {IMAGE}\nRUN app\n".encode()}
    result = execute(*BUILD[:1], BUILD[1].replace("app:1", "app:2"), "true", files=files)
    assert result.succeeded, result.text
    assert "second" in result.text


def test_no_process_of_the_daemon_is_root(stack: auto.Stack) -> None:
    script = "for p in /proc/[0-9]*; do echo $(stat -c %u $p) $(tr '\\0' ' ' < $p/cmdline); done"
    found = [line.split(" ", 1) for line in in_daemon("sh", "-c", script).splitlines() if line]
    assert {owner for owner, *_ in found} == {"1000"}
    assert any(command and "buildkitd" in command[0] for _, *command in found)
    status = in_daemon("sh", "-c", "cat /proc/1/status")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    assert int(effective.split()[1], 16) == 0


def test_the_jobs_certificate_is_accepted(stack: auto.Stack, tmp_path: Path) -> None:
    files = []
    for name in ("cert.pem", "key.pem"):
        files.append(tmp_path / name)
        files[-1].write_text(client_secret()[name])
    result = workers(stack, tmp_path, *files)
    assert result.returncode == 0, result.stderr
    assert "linux/amd64" in result.stdout


def refused(stack: auto.Stack, folder: Path, why: str, *files: Path) -> None:
    """Hold that the daemon refuses a client, and says why.

    A client that writes may lose the reason to the reset of its connection; one that reads does
    not.
    """
    assert workers(stack, folder, *files).returncode != 0
    host, address = place(stack)
    context = ssl.create_default_context(cadata=client_secret()["ca.pem"])
    context.set_alpn_protocols(["h2"])
    if files:
        certificate, key = files
        context.load_cert_chain(certificate, key)
    with (
        socket.create_connection((address, 1234), timeout=30) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
        pytest.raises(ssl.SSLError, match=why),
    ):
        secured.recv(1)


def test_a_client_without_certificate_is_refused(stack: auto.Stack, tmp_path: Path) -> None:
    refused(stack, tmp_path, "certificate required")


def test_a_client_of_another_authority_is_refused(stack: auto.Stack, tmp_path: Path) -> None:
    """One of the same name: otherwise the client would not even show its certificate."""
    own = x509.load_pem_x509_certificate(client_secret()["ca.pem"].encode())
    other = certificates.authority(tmp_path / "other", own.subject)
    pair = certificates.issue(other, tmp_path / "client", "client")
    refused(stack, tmp_path, "unknown ca", *pair)


def test_the_client_has_no_authority_key(stack: auto.Stack) -> None:
    found = client_secret()
    assert set(found) == {"ca.pem", "cert.pem", "key.pem"}
    assert "PRIVATE KEY" not in found["ca.pem"]


def test_a_second_update_changes_nothing(stack: auto.Stack) -> None:
    changes = stack.up().summary.resource_changes or {}
    assert {str(getattr(key, "value", key)) for key in changes} == {"same"}
