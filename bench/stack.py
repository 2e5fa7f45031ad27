"""The bench's own platform on the lab: a runner for each kind of daemon, and what is outside."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pulumi
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.runner_platform import RunnerPlatformArgs
from pulumi import automation as auto

from bench import bases, node
from lab import cluster, engine, gitlab, images, up
from lab.console import LabError, step
from lab.jobs import manager
from lab.paths import KUBECONFIG, ROOT

PROJECT = STACK = "bench"
OUTSIDE = "bench-outside"
REGISTRY_PORT, INDEX_PORT = 5000, 8080
REGISTRY = f"outside.{OUTSIDE}.svc.cluster.local:{REGISTRY_PORT}"
HUB = f"hub.{OUTSIDE}.svc.cluster.local:{REGISTRY_PORT}"
"""Another name of the registry: to docker, and so for what it uploads, another registry."""
INDEX = f"http://outside.{OUTSIDE}.svc.cluster.local:{INDEX_PORT}"
_NAMESPACES = {part: f"bench-{part}" for part in ("runner", "jobs", "cache", "docker", "mirror")}
_LABELS = {"app": "outside"}
ROLES = {
    "outside": OUTSIDE,
    "mirror": _NAMESPACES["mirror"],
    "store": _NAMESPACES["cache"],
    "docker": _NAMESPACES["docker"],
    "buildkit": f"{_NAMESPACES['docker']}-rootless",
    "tight": f"{_NAMESPACES['docker']}-tight",
}
"""The namespaces of the pods that stay, by what they are."""
SCALE = {part: f"bench-scale-{part}" for part in ("runner", "jobs")}
"""The namespaces of the stack that grows."""
TIGHT_VOLUME = "1Gi"
"""Size of the volume of the daemon on which the build cache is collected."""

# The image's own volume, which the lab's has not.
_DOCKER_DATA = """
[[runners]]
  [runners.kubernetes]
    [[runners.kubernetes.volumes.empty_dir]]
      name = "docker-data"
      mount_path = "/var/lib/docker"
"""


def has_buildkit() -> bool:
    """Tell whether the lab has an image of buildkitd (`python -m lab extras`)."""
    try:
        return bool(images.reference("buildkit"))
    except LabError:
        return False


def _runner() -> dict[str, Any]:
    return {
        "image": images.reference("gitlab-runner"),
        "default_image": images.reference("docker"),
        "helper_image": images.reference("docker"),
        "chart": {key: value for key, value in up.chart().items() if value},
        "pull_policy": "if-not-present",
        "concurrent": 10,
        "maximum_job_timeout_seconds": 1200,
    }


def _daemon(image: str, volume_size: str, percent: int) -> dict[str, Any]:
    return {
        "image": images.reference(image),
        "volume_size": volume_size,
        "build_cache_percent": percent,
        "insecure_registries": [REGISTRY],
        "termination_grace_period_seconds": 30,
        "resources": {"cpu_request": "100m", "memory_request": "256Mi"},
    }


def arguments() -> dict[str, Any]:
    """Return the platform's arguments: zones keep the kinds of daemon apart."""
    token = pulumi.Output.secret(gitlab.runner_token())
    docker = {"accept_shared_nodes": True}
    zones: dict[str, Any] = {
        "dind": {},
        "tight": {"docker_daemon": _daemon("docker", TIGHT_VOLUME, 40) | docker},
    }
    fleets: dict[str, Any] = {
        "shared": {"runner_token": token},
        "dind": {
            "runner_token": token,
            "zone": "dind",
            "runner": {"enable_privileged_services": True, "extra_config": _DOCKER_DATA},
        },
    }
    if has_buildkit():
        zones["rootless"] = {"buildkit_daemon": _daemon("buildkit", "20Gi", 70)}
        fleets["buildkit"] = {"runner_token": token, "zone": "rootless"}
    small = {"cpu_request": "50m", "memory_request": "64Mi"}
    return {
        "gitlab_url": gitlab.URL,
        "runner": _runner(),
        "docker_daemon": _daemon("docker", "20Gi", 70) | docker,
        "zones": zones,
        "fleets": fleets,
        "cache": {
            "minio": {
                "engine": "minio",
                "image": images.reference("minio"),
                "volume_size": "20Gi",
                "resources": small,
            }
        },
        "registry_mirror": {
            "image": images.reference("registry-mirror"),
            "remote_url": f"http://{REGISTRY}",
            "allow_insecure_remote": True,
            "volume_size": "20Gi",
            "resources": small,
        },
        "namespaces": _NAMESPACES,
        "network": {"allow_insecure_gitlab_url": True, "egress_cidrs": ["10.0.0.0/8"]},
        "allow_volume_deletion": True,
    }


def _program() -> None:
    RunnerPlatform("bench", cast(RunnerPlatformArgs, arguments()))


def _outside() -> list[dict[str, Any]]:
    """Return what is outside of the cluster: an image registry and a package index, one pod."""
    registry = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": "/data"}},
        "http": {"addr": f":{REGISTRY_PORT}"},
    }
    containers = [
        {
            "name": "registry",
            "image": images.reference("registry-mirror"),
            "args": ["serve", "/config/registry.yml"],
            "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
            "readinessProbe": {"httpGet": {"path": "/v2/", "port": REGISTRY_PORT}},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "config", "mountPath": "/config"},
            ],
        },
        {
            "name": "index",
            "image": images.reference("gitlab-runner"),
            "command": ["httpd", "-f", "-p", str(INDEX_PORT), "-h", "/www"],
            "readinessProbe": {"tcpSocket": {"port": INDEX_PORT}},
            "volumeMounts": [{"name": "www", "mountPath": "/www"}],
        },
    ]
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "www", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "outside"}},
    ]
    meta = {"name": "outside", "namespace": OUTSIDE}
    ports = [
        {"name": "registry", "port": REGISTRY_PORT},
        {"name": "index", "port": INDEX_PORT},
    ]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OUTSIDE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"registry.yml": json.dumps(registry)},
        },
        cluster.deployment(
            "outside",
            OUTSIDE,
            _LABELS,
            {"containers": containers, "volumes": volumes, "enableServiceLinks": False},
        ),
        cluster.service("outside", OUTSIDE, _LABELS, ports),
        cluster.service("hub", OUTSIDE, _LABELS, ports[:1]),
    ]


@dataclass(frozen=True)
class Pod:
    """A pod that stays."""

    namespace: str
    name: str
    uid: str
    link: node.Link


@dataclass(frozen=True)
class Bench:
    """The platform as it runs."""

    managers: dict[str, manager.Manager]
    pods: dict[str, Pod]

    def roles(self) -> dict[str, str]:
        """Return the roles of the pods that stay, by their uid."""
        return {pod.uid: role for role, pod in self.pods.items()}

    def push_base(self, key: str, change: str, repository: str, tags: Sequence[str]) -> None:
        """Push a base image past the shaped link: from the registry's own network namespace."""
        environment = f"PYTHONPATH={ROOT}"
        command = ("-m", "bench.bases", str(REGISTRY_PORT), key, change, repository, *tags)
        enter = f"--net=/run/netns/{self.pods['outside'].link.namespace}"
        node.run("nsenter", enter, "env", environment, node.PYTHON, *command)


def _pod(namespace: str) -> Pod:
    items = manager.administrator().list_namespaced_pod(namespace).items
    running = [pod for pod in items if pod.status.phase == "Running"]
    found = next((pod for pod in running if pod.metadata.deletion_timestamp is None), None)
    if found is None:
        raise LabError(f"no pod runs in {namespace}: make status shows why")
    meta = found.metadata
    return Pod(namespace, meta.name, meta.uid, node.link(found.status.pod_ip))


def _select(name: str, program: Any, folder: Path, environment: dict[str, str]) -> auto.Stack:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: python\n"
        "config:\n  kubernetes:enableSecretMutable: {value: true}\n"
        "  kubernetes:enableConfigMapMutable: {value: true}\n"
    )
    return engine.select_stack(name, program, folder, PROJECT, environment)


@contextmanager
def deployed(name: str, program: Any) -> Iterator[auto.Stack]:
    """Select a stack of the bench; destroy it at the end."""
    with engine.providers(engine.provider_mode(), KUBECONFIG) as environment:
        selected = _select(name, program, bases.FOLDER / "workspace" / name, environment)
        try:
            yield selected
        finally:
            selected.destroy()
            selected.workspace.remove_stack(name)


@contextmanager
def platform() -> Iterator[Bench]:
    """Deploy the bench's platform, and take it away at the end."""
    if has_buildkit():
        # Built for another lab, maybe.
        images.load_all([images.find("buildkit")])
    try:
        with step("starting what is outside of the cluster"):
            cluster.apply(*_outside())
            cluster.rollout(OUTSIDE, "deployment/outside")
            cluster.kubectl(
                *("-n", OUTSIDE, "exec", "-i", "deployment/outside", "-c", "index", "--"),
                *("tar", "-xf", "-", "-C", "/www"),
                stdin=bases.index(),
            )
        with deployed(STACK, _program) as stack:
            with step("pulumi up of the bench's platform"):
                # Of a run that was killed, and maybe of a lab that is no more.
                stack.up(refresh=True)
            yield connect()
    finally:
        namespaces = [*ROLES.values(), *_NAMESPACES.values(), *SCALE.values()]
        cluster.kubectl("delete", "namespace", "--ignore-not-found", *dict.fromkeys(namespaces))
        cluster.give_volumes_back(*namespaces)


def connect() -> Bench:
    """Return the platform that runs."""
    roles = {role: namespace for role, namespace in ROLES.items() if _exists(namespace)}
    namespace = _NAMESPACES["runner"]
    fleets = arguments()["fleets"]
    return Bench(
        {fleet: manager.find(namespace, f"bench-{fleet}", 60) for fleet in fleets},
        {role: _pod(namespace) for role, namespace in roles.items()},
    )


def _exists(namespace: str) -> bool:
    return bool(cluster.kubectl("get", "namespace", "--ignore-not-found", namespace))
