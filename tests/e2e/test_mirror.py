"""The registry mirror on the lab, with a registry beside it that stands in for Docker Hub.

The tests run in the order of this file: the last one takes that registry away.
"""

import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import RegistryMirror
from pulumi import automation as auto

from lab import cluster, engine, images, oci, process, registry
from tests.e2e import stacks
from tests.required import needs_lab

pytestmark = pytest.mark.lab
PROJECT = "mirror-test"
NAMESPACE = "mirror-test"
JOBS = "mirror-test-jobs"
HUB = {"app": "hub"}
IMAGE = "minio"
"""An image of the lab, for Docker Hub to have: it has a shell."""
USER = "ci"
# What YAML would read as something else, were it not quoted.
PASSWORD = "it's {a: test} #1"
_HTPASSWD = f"{USER}:$2a$04$ydfdNPbcDWkICvZJOOZ6VOMr3AgDa/oFqNUdY3sDyJFGD1yrLKQT2\n"
_PUSH_PORT = 5001
Stack = auto.Stack


def _hub_config(port: int, **more: Any) -> str:
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": "/data"}},
        "http": {"addr": f":{port}"},
        **more,
    }
    return json.dumps(settings)


def _hub() -> list[dict[str, Any]]:
    """Return a registry that asks for a password, and the same one without for pushing to it."""
    auth = {"htpasswd": {"realm": "hub", "path": "/config/htpasswd"}}
    files = {
        "5000.yml": _hub_config(5000, auth=auth),
        "5001.yml": _hub_config(_PUSH_PORT),
        "htpasswd": _HTPASSWD,
    }
    containers = [
        {
            "name": f"registry-{port}",
            "image": images.reference("registry-mirror"),
            "args": ["serve", f"/config/{port}.yml"],
            "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
            "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "config", "mountPath": "/config"},
            ],
        }
        for port in (5000, _PUSH_PORT)
    ]
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "hub"}},
    ]
    pod = {"containers": containers, "volumes": volumes, "enableServiceLinks": False}
    meta = {"name": "hub", "namespace": JOBS}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files},
        cluster.deployment("hub", JOBS, HUB, pod),
        cluster.service(
            "hub",
            JOBS,
            HUB,
            [{"name": "registry", "port": 5000}, {"name": "push", "port": _PUSH_PORT}],
        ),
    ]


def _job(config_map: str) -> dict[str, Any]:
    """Return a pod with a docker daemon of its own, configured as the mirror says."""
    container = {
        "name": "docker",
        "image": images.reference("docker"),
        "command": ["dockerd", "--host=unix:///var/run/docker.sock"],
        "securityContext": {"privileged": True},
        "readinessProbe": {"exec": {"command": ["docker", "version"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/docker"},
            {
                "name": "daemon",
                "mountPath": "/etc/docker/daemon.json",
                "subPath": "daemon.json",
            },
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "job", "namespace": JOBS},
        "spec": {
            "containers": [container],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "daemon", "configMap": {"name": config_map}},
            ],
        },
    }


def _namespace(name: str, level: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": level}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _program() -> None:
    mirror = RegistryMirror(
        "mirror",
        {
            "image": images.reference("registry-mirror"),
            "remote_url": f"http://hub.{JOBS}.svc.cluster.local:5000",
            "allow_insecure_remote": True,
            "username": USER,
            "password": pulumi.Output.secret(PASSWORD),
            "volume_size": "1Gi",
            "namespace": NAMESPACE,
            "job_namespace": JOBS,
            "client_namespaces": [JOBS],
            "metrics_namespaces": [JOBS],
        },
    )
    pulumi.export("url", mirror.url)
    pulumi.export("host", mirror.host)
    pulumi.export("config_map", mirror.daemon_config_map_name)


def _push_images() -> None:
    cluster.rollout(JOBS, "deployment/hub")
    address = cluster.kubectl(
        "-n", JOBS, "get", "service", "hub", "-o", "jsonpath={.spec.clusterIP}"
    )
    base = f"http://{address}:{_PUSH_PORT}"
    process.wait_for("the hub's Service", lambda: registry._answers(base), 30)
    with tarfile.open(images.find(IMAGE).archive) as archive:
        # Docker Hub has its own images in `library`; a second tag was never pulled by the first.
        for tag in ("pulled", "built"):
            registry._push(base, archive, "library/tool", tag)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return the stack of a mirror that is up, with a job's pod that uses it."""
    needs_lab()
    try:
        cluster.apply(_namespace(NAMESPACE, "restricted"), _namespace(JOBS, "privileged"))
        cluster.apply(*_hub())
        _push_images()
        with stacks.deployed(_program, PROJECT, tmp_path_factory.mktemp("mirror")) as stack:
            cluster.apply(_job(stack.outputs()["config_map"].value))
            cluster.kubectl("-n", JOBS, "wait", "--for=condition=Ready", "pod/job", "--timeout=90s")
            yield stack
    finally:
        cluster.kubectl("delete", "namespace", "--ignore-not-found", NAMESPACE, JOBS)
        cluster.give_volumes_back(NAMESPACE)


def in_job(*command: str) -> str:
    return cluster.kubectl("-n", JOBS, "exec", "job", "--", *command)


def pull(tag: str) -> None:
    """Pull an image of Docker Hub of which the job's daemon has nothing any more."""
    in_job("docker", "system", "prune", "--all", "--force")
    assert "Pull complete" in in_job("docker", "pull", f"tool:{tag}")


def scale(replicas: int) -> None:
    mirror = "statefulset/mirror"
    cluster.kubectl("-n", NAMESPACE, "scale", mirror, f"--replicas={replicas}")
    if replicas:
        cluster.rollout(NAMESPACE, mirror)
    else:
        wait = ("wait", "--for=delete", "pod/mirror-0", "--timeout=120s")
        cluster.kubectl("-n", NAMESPACE, *wait)


def volume() -> Path:
    """Return where the mirror's volume is: the lab's volumes are folders of this machine."""
    claim = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "pvc", "data-mirror-0", "-o=json"))
    query = ("get", "pv", claim["spec"]["volumeName"], "-o=jsonpath={.spec.local.path}")
    return Path(cluster.kubectl(*query))


def layers() -> set[str]:
    """Return the digests of the image's layers, and of its configuration."""
    with tarfile.open(images.find(IMAGE).archive) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        path = oci.blob_path(index["manifests"][0]["digest"])
        manifest = json.load(archive.extractfile(path))  # type: ignore[arg-type]
    return {part["digest"] for part in (manifest["config"], *manifest["layers"])}


def kept() -> set[str]:
    """Return which of these are on the mirror's volume."""
    blobs = volume() / "docker/registry/v2/blobs/sha256"
    hexes = {digest: digest.removeprefix("sha256:") for digest in layers()}
    return {name for name, text in hexes.items() if (blobs / text[:2] / text / "data").exists()}


def test_a_job_pulls_through_the_mirror_and_the_mirror_keeps_it(stack: Stack) -> None:
    url = stack.outputs()["url"].value
    mirrors = json.loads(in_job("docker", "info", "--format", "{{json .RegistryConfig.Mirrors}}"))
    assert mirrors == [f"{url}/"]
    assert kept() == set()
    pull("pulled")
    assert kept() == layers()


def test_buildkit_pulls_through_the_mirror_too(stack: Stack) -> None:
    build = "printf 'FROM tool:built\\nRUN true\\n' | docker build --progress=plain -"
    in_job("sh", "-c", build)
    tags = volume() / "docker/registry/v2/repositories/library/tool/_manifests/tags"
    assert {path.name for path in tags.iterdir()} == {"pulled", "built"}


def test_nothing_can_be_pushed_or_deleted(stack: Stack) -> None:
    repository = f"{stack.outputs()['url'].value}/v2/library/tool"
    status = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X")
    assert in_job(*status, "POST", f"{repository}/blobs/uploads/") == "405"
    for digest in layers():
        assert in_job(*status, "DELETE", f"{repository}/blobs/{digest}") == "405"
    assert kept() == layers()


def test_metrics_are_served(stack: Stack) -> None:
    host = stack.outputs()["host"].value.rpartition(":")[0]
    metrics = in_job("curl", "-sf", f"http://{host}:5001/metrics")
    assert "registry_proxy_misses_total" in metrics


def test_the_password_is_in_its_secret_alone(stack: Stack) -> None:
    kinds = "configmap,pod,statefulset,service,networkpolicy"
    everything = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-o", "yaml")
    logs = cluster.kubectl("-n", NAMESPACE, "logs", "mirror-0")
    assert "library/tool" in logs
    for text in (everything, logs, engine.state_text("test", PROJECT)):
        assert PASSWORD not in text
        assert PASSWORD.replace("'", "''") not in text


def test_a_second_update_changes_nothing(stack: Stack) -> None:
    changes = stack.up().summary.resource_changes or {}
    assert {str(getattr(key, "value", key)) for key in changes} == {"same"}


def test_what_has_expired_leaves_the_volume_and_is_pulled_again(stack: Stack) -> None:
    scale(0)
    schedule = volume() / "scheduler-state.json"
    entries = json.loads(schedule.read_text())
    assert layers() <= {entry["Key"].partition("@")[2] for entry in entries.values()}
    for entry in entries.values():
        left = datetime.fromisoformat(entry["ExpiryData"]) - datetime.now(UTC)
        assert 6 < left.total_seconds() / 86400 < 7
        entry["ExpiryData"] = "2020-01-01T00:00:00Z"
    schedule.write_text(json.dumps(entries))
    scale(1)
    process.wait_for("the expiry", lambda: kept() == set(), 30)
    pull("pulled")
    assert kept() == layers()


def test_what_was_pulled_comes_from_the_volume(stack: Stack) -> None:
    scale(0)
    scale(1)  # its memory is gone, the volume is not
    cluster.kubectl("-n", JOBS, "scale", "deployment/hub", "--replicas=0")
    cluster.kubectl("-n", JOBS, "wait", "--for=delete", "pod", "-l", "app=hub", "--timeout=90s")
    pull("pulled")
