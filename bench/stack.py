"""The bench's own platform on the lab: a runner for each kind of daemon, and what is outside."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from gitlab_runner_k8s import RunnerPlatform, RunnerPlatformArgs
from pulumi import automation as auto

from bench import bases, node
from lab import cluster, engine, gitlab, images, up
from lab.console import LabError, step
from lab.paths import ROOT

PROJECT = STACK = "bench"
OUTSIDE = "bench-outside"
REGISTRY_PORT, INDEX_PORT = 5000, 8080
REGISTRY = f"outside.{OUTSIDE}.svc.cluster.local:{REGISTRY_PORT}"
HUB = f"hub.{OUTSIDE}.svc.cluster.local:{REGISTRY_PORT}"
"""Another name of the registry: to docker, and so for what it uploads, another registry."""
INDEX = f"http://outside.{OUTSIDE}.svc.cluster.local:{INDEX_PORT}"
_NAMESPACES = {part: f"bench-{part}" for part in ("runner", "jobs", "cache", "mirror")}
_NAMESPACES["daemon"] = "bench-docker"
_LABELS = {"app": "outside"}
ROLES = {
    "outside": OUTSIDE,
    "mirror": _NAMESPACES["mirror"],
    "store": _NAMESPACES["cache"],
    "docker": _NAMESPACES["daemon"],
    "buildkit": f"{_NAMESPACES['daemon']}-rootless",
    "tight": f"{_NAMESPACES['daemon']}-tight",
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

_POLL = """
[[runners]]
  [runners.kubernetes]
    poll_interval = 1
"""


def runner_name(fleet: str) -> str:
    """Return the name under which GitLab knows a fleet's runner."""
    return f"bench-{fleet}"


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
        "helper_image": images.reference("gitlab-runner-helper"),
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
    docker = {"accept_shared_nodes": True}
    zones: dict[str, Any] = {
        "dind": {},
        "tight": {"docker_daemon": _daemon("docker", TIGHT_VOLUME, 40) | docker},
    }
    fleets: dict[str, Any] = {
        "shared": {},
        "poll": {"runner": {"extra_config": _POLL}},
        "dind": {
            "zone": "dind",
            "runner": {"enable_privileged_services": True, "extra_config": _DOCKER_DATA},
        },
    }
    if has_buildkit():
        zones["rootless"] = {"buildkit_daemon": _daemon("buildkit", "20Gi", 70)}
        fleets["buildkit"] = {"zone": "rootless"}
    for fleet, settings in fleets.items():
        token = gitlab.runner_token(runner_name(fleet))
        settings["runner_token"] = pulumi.Output.secret(token)
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
            # Any image with busybox has a web server.
            "image": images.reference("minio"),
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


def _pods(*where: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "pods", *where, "-o=json"))[
        "items"
    ]
    return items


def _pod(namespace: str) -> Pod:
    for pod in _pods("-n", namespace):
        meta, status = pod["metadata"], pod["status"]
        if status["phase"] == "Running" and "deletionTimestamp" not in meta:
            return Pod(namespace, meta["name"], meta["uid"], node.link(status["podIP"]))
    raise LabError(f"no pod runs in {namespace}: make status shows why")


def wait_for_quiet() -> None:
    """Wait until the pods of ended jobs are gone: their end takes time of the next job's.

    Raises:
        LabError: a pod is there after two minutes.
    """
    deadline = time.monotonic() + 120
    # A zone's jobs have a namespace of their own.
    jobs = _NAMESPACES["jobs"]
    while left := [
        pod["metadata"]["name"]
        for pod in _pods("-A")
        if pod["metadata"]["namespace"].startswith(jobs)
    ]:
        if time.monotonic() > deadline:
            raise LabError(f"pods of ended jobs do not go away: {', '.join(left)}")
        time.sleep(0.5)


def _select(name: str, program: Any) -> auto.Stack:
    folder = bases.FOLDER / "workspace" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: python\n"
        "config:\n  kubernetes:enableSecretMutable: {value: true}\n"
        "  kubernetes:enableConfigMapMutable: {value: true}\n"
    )
    return engine.select_stack(name, program, folder, PROJECT, engine.environment())


@contextmanager
def deployed(name: str, program: Any) -> Iterator[auto.Stack]:
    """Select a stack of the bench; destroy it at the end."""
    selected = _select(name, program)
    # A killed run may have left something.
    engine.recover(selected, PROJECT)
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
                # The lab may be a new one.
                stack.up(refresh=True)
            with step("waiting for the runners"):
                _wait_for_runners()
            yield connect()
    finally:
        namespaces = [*ROLES.values(), *_NAMESPACES.values(), *SCALE.values()]
        cluster.kubectl("delete", "namespace", "--ignore-not-found", *dict.fromkeys(namespaces))
        cluster.give_volumes_back(*namespaces)


def _wait_for_runners() -> None:
    """Wait until the runner of each fleet asks for jobs.

    Raises:
        LabError: one does not within two minutes.
    """
    wanted = {runner_name(fleet) for fleet in arguments()["fleets"]}
    deadline = time.monotonic() + 120
    while silent := wanted - set(gitlab.runners()):
        if time.monotonic() > deadline:
            raise LabError(f"runners that ask for no jobs: {', '.join(sorted(silent))}")
        time.sleep(1)


def connect() -> Bench:
    """Return the platform that runs."""
    roles = {role: namespace for role, namespace in ROLES.items() if _exists(namespace)}
    return Bench({role: _pod(namespace) for role, namespace in roles.items()})


def _exists(namespace: str) -> bool:
    return bool(cluster.kubectl("get", "namespace", "--ignore-not-found", namespace))
