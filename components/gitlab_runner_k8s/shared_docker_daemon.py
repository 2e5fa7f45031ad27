"""One docker daemon for all jobs: its layers stay, whichever pod the next job runs in."""

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from . import _daemon as daemon
from . import _network as net
from ._inputs import lift
from ._meta import script, token
from ._specs import SharedDockerDaemonSpec
from ._validation import STATEFUL_SET_NAME, name_problems, quantity, validate
from .gitlab_runner import ResourcesArgs

PRIVILEGED = daemon.Kind("docker", net.DOCKER_PORT, "/var/lib/docker", "/etc/docker", 0o400)
# Its layers belong to other users, so it has a volume, and so a pod, of another name: a volume is
# never handed from one to the other. /etc is another one for the daemon itself.
ROOTLESS = daemon.Kind(
    "docker",
    net.DOCKER_PORT,
    "/home/rootless/.local/share/docker",
    "/docker-config",
    0o440,
    user=1000,
    pod_suffix="-rootless",
    scratch={"run": "/run/user/1000", "tmp": "/tmp"},
)


_PRUNE_SECONDS = 3600
"""How often what jobs leave is removed."""


class DaemonIsolation(str, Enum):
    """What is between the shared daemon and its node."""

    PRIVILEGED = "privileged"
    """Nothing: the daemon is root in a privileged pod."""
    ROOTLESS = "rootless"
    """The daemon and what it runs are in a user namespace, root there and user 1000 outside. The
    pod is still privileged, which the namespaces inside need."""


class DockerOptionsArgs(TypedDict):
    """What can be chosen about the shared daemon."""

    image: NotRequired[str]
    """Image of the daemon, by digest; Docker 29.3.1 or newer. Default: the pinned docker:dind, or
    docker:dind-rootless."""
    isolation: NotRequired[DaemonIsolation]
    """What is between the daemon and its node. `rootless` needs nodes with unprivileged user
    namespaces, Linux 5.11 or newer, amd64 or arm64; its network is slower. Another value moves the
    daemon to a new, empty volume and leaves the old one. Default: privileged."""
    replicas: NotRequired[int]
    """Daemons, from 1 to 16, each with a volume of its own. They are for load and no boundary: all
    share a client certificate, and any job can reach every daemon of its zone; zones are for that.
    A project's jobs always use the same one, chosen by CI_PROJECT_ID in a consistent way: one more
    takes over its share of the projects, which start cold there, and the others stay. From 1 to
    more, and back to 1, the server's certificate is replaced and the first restarts. One less ends
    the last one, within `termination_grace_period_seconds`; its volume stays. Its running jobs then
    fail at their next command to it; those that start before the runner knows wait, and take the
    first. Jobs choose in their own shell, which has to be bash or sh; services and jobs with `run:`
    know the first alone. Default: 1."""
    volume_size: NotRequired[str]
    """Size of the volume for images and build cache in bytes, as a Kubernetes quantity.
    Default: 100Gi."""
    storage_class_name: NotRequired[str]
    """StorageClass of the volume, of a block device: not NFS. It cannot be changed later.
    Default: the cluster's."""
    mtu: NotRequired[int]
    """MTU of the daemon's bridge in bytes; at most that of the pods' network, else builds hang in
    TLS handshakes. Default: 1450, which fits VXLAN."""
    build_cache_percent: NotRequired[int]
    """Share of the volume that the build cache may take before the oldest is removed, from 10 to
    90. Default: 70."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which build cache that nothing used is removed, however much room there is.
    Default: 1440, 60 days."""
    enable_pruning: NotRequired[bool]
    """Remove once an hour what jobs leave beside the build cache: stopped containers, networks,
    anonymous volumes and images that nothing uses. Needs Kubernetes 1.29 or newer.
    Default: removed."""
    prune_keep_hours: NotRequired[int]
    """Hours after their creation for which stopped containers, unused networks and unused images
    are kept; longer than a pipeline takes to come to its last job. Default: 72, so that one of
    Friday goes on on Monday."""
    prune_above_percent: NotRequired[int]
    """Share of the volume in use above which images that no container uses are removed, from 10 to
    99; more than `build_cache_percent`. Below it only untagged ones are. Default: 80, between the
    build cache's 70 and the 90 from which the daemon makes room by removing build cache."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod.
    Default: it is evicted, after `termination_grace_period_seconds`."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces, such as that of Prometheus, that may read the daemon's metrics, on port 9323 at
    /metrics. Default: none, and no metrics are served."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of registries without TLS. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds.
    Default: 1 to 8 cores, 2Gi to 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of nodes that are the daemon's own: whoever may run a job is root there. Required,
    unless `accept_shared_nodes` is set."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: none."""
    accept_shared_nodes: NotRequired[bool]
    """Accept that jobs can become root on nodes that others use too. Default: refused."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. Default: 2160, 90
    days."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. Default: 720, 30 days."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the authority is valid. Another value makes a new certificate of the same
    key: what it signed before is still trusted. Default: 87600, 10 years."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts, from 30 to 86400. It stops
    once no client is connected, and 20 seconds before the end in any case. Default: 600."""


class SharedDockerDaemonArgs(DockerOptionsArgs):
    """Arguments of `SharedDockerDaemon`."""

    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the daemon alone; it needs the Pod Security level `privileged`.
    Default: gitlab-runner-docker."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, which get the client certificate.
    Default: gitlab-runner-jobs."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the daemon but the jobs' and the internet. Default: denied."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that builds may reach, such as a registry's. Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Default: that of NodeLocal DNSCache,
    169.254.20.10/32."""


class SharedDockerDaemon(pulumi.ComponentResource):
    """A docker daemon on a volume, reachable by mutual TLS alone.

    Whoever holds the client certificate is root on the daemon's node, unless the daemon is
    rootless: give one daemon to projects that trust each other. The volume outlives the component.
    The authority's key never enters the cluster.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    docker_host: pulumi.Output[str]
    """Address of the daemon, for DOCKER_HOST; of the first, where there are several."""
    client_secret_name: pulumi.Output[str]
    """Secret in the job namespace with `ca.pem`, `cert.pem` and `key.pem`."""
    namespace: pulumi.Output[str]
    """Namespace of the daemon."""

    def __init__(
        self,
        name: str,
        args: SharedDockerDaemonArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME - len(ROOTLESS.pod_suffix), name)
        spec = validate(SharedDockerDaemonSpec, args, f"SharedDockerDaemon '{name}'", also=names)
        super().__init__(token("SharedDockerDaemon"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.docker_host = daemon.address(name, PRIVILEGED, spec)
        self.namespace = pulumi.Output.from_input(spec.namespace)
        certificates = daemon.certificates(name, PRIVILEGED, spec, child)
        self._stateful_set = self._daemon(name, spec, certificates)
        if spec.enable_network_policies:
            readers = net.namespace_rule(spec.metrics_namespaces, net.DOCKER_METRICS_PORT)
            daemon.policy(name, PRIVILEGED, spec, child, more_ingress=readers)
        daemon.disruption_budget(name, PRIVILEGED, spec, child)
        self.client_secret_name = daemon.client_secret_name(certificates, self._stateful_set)
        self.register_outputs(
            {
                "docker_host": self.docker_host,
                "client_secret_name": self.client_secret_name,
                "namespace": self.namespace,
            }
        )

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The daemon's StatefulSet (native only)."""
        return self._stateful_set

    def _daemon(
        self, name: str, spec: SharedDockerDaemonSpec, certificates: daemon.Certificates
    ) -> k8s.apps.v1.StatefulSet:
        settings = lift(
            lambda mirrors: json.dumps(daemon_json(spec, mirrors), sort_keys=True, indent=2),
            spec.registry_mirrors,
        )
        kind = ROOTLESS if spec.is_rootless else PRIVILEGED
        image = spec.image or spec.default_image
        socket = "unix:///run/user/1000/docker.sock" if kind.user else "unix:///var/run/docker.sock"
        container = daemon.container(
            "docker",
            kind,
            spec,
            image=image,
            arguments=[*_arguments(kind, spec.mtu, socket), *_rootless_arguments(kind)],
            over_socket=["docker", f"--host={socket}", "version"],
            over_tls=_version_over_tls(kind),
            security_context={
                "privileged": True,
                # Beside its volume a rootless daemon writes to its own namespace's tmpfs.
                **({"readOnlyRootFilesystem": True} if kind.user else {}),
            },
            environment=_rootless_environment(spec) if kind.user else None,
        )
        if spec.metrics_namespaces:
            container["ports"].append({"name": "metrics", "containerPort": net.DOCKER_METRICS_PORT})
        return daemon.stateful_set(
            name,
            kind,
            spec,
            certificates,
            {
                "daemon.json": settings,
                "reserve.sh": script("_docker_reserve.sh"),
                **({"prune.sh": script("_docker_prune.sh")} if spec.enable_pruning else {}),
            },
            ("daemon-json", settings),
            {
                "initContainers": [
                    _make_room(kind, image),
                    *([_prune(kind, spec, image)] if spec.enable_pruning else []),
                ],
                "containers": [container],
            },
            pulumi.ResourceOptions(parent=self),
        )


def _make_room(kind: daemon.Kind, image: str) -> dict[str, Any]:
    """Return the container that lets the daemon start on a full volume."""
    data, config, *_ = daemon.volume_mounts(kind)
    return {
        "name": "make-room",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", f"{kind.config_path}/reserve.sh", kind.data_path],
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"cpu": "1", "memory": "128Mi"},
        },
        "securityContext": _unprivileged(),
        "volumeMounts": [data, config],
    }


def _prune(kind: daemon.Kind, spec: SharedDockerDaemonSpec, image: str) -> dict[str, Any]:
    """Return the container that removes what jobs leave at the daemon.

    It is a sidecar in Kubernetes' own sense, an init container that goes on: it is told to end
    only once the daemon has. Were it to end first, the pod would not be ready, and the daemon get
    no new connections while it drains.
    """
    data, config, _, client, *_ = daemon.volume_mounts(kind)
    arguments = (kind.data_path, spec.prune_keep_hours, spec.prune_above_percent, _PRUNE_SECONDS)
    environment = {
        "DOCKER_HOST": f"tcp://localhost:{kind.port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": kind.client_certs_path,
    }
    return {
        "name": "prune",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["/bin/sh", f"{kind.config_path}/prune.sh", *map(str, arguments)],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
        "securityContext": _unprivileged(),
        # Its volume only for how full it is.
        "volumeMounts": [{**data, "readOnly": True}, config, client],
    }


def _unprivileged() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _arguments(kind: daemon.Kind, mtu: int, socket: str) -> list[str]:
    return [
        "dockerd",
        f"--host={socket}",
        f"--host=tcp://0.0.0.0:{kind.port}",
        "--tlsverify",
        *daemon.flags(kind.server_certs_path),
        f"--mtu={mtu}",
        # `--mtu` is for the default bridge alone; compose and buildx make networks of their own.
        f"--default-network-opt=bridge=com.docker.network.driver.mtu={mtu}",
    ]


def _rootless_arguments(kind: daemon.Kind) -> list[str]:
    if not kind.user:
        return []
    return [
        f"--config-file={kind.config_path}/daemon.json",
        # The volume's own root belongs to the node's root, and the daemon sets its data's mode.
        f"--data-root={kind.data_path}/data",
    ]


def _rootless_environment(spec: SharedDockerDaemonSpec) -> dict[str, str]:
    """Return the settings of the image's RootlessKit: its network is one of its own."""
    ports = [net.DOCKER_PORT, *([net.DOCKER_METRICS_PORT] if spec.metrics_namespaces else [])]
    return {
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "DOCKERD_ROOTLESS_ROOTLESSKIT_MTU": str(spec.mtu),
        "DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS": " ".join(
            f"--publish=0.0.0.0:{port}:{port}/tcp" for port in ports
        ),
    }


def _version_over_tls(kind: daemon.Kind) -> list[str]:
    address = f"--host=tcp://localhost:{kind.port}"
    return ["docker", address, "--tlsverify", *daemon.flags(kind.client_certs_path), "version"]


def _gc_rule(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a rule of BuildKit's as dockerd reads it: sizes as text, age as a filter.

    dockerd passes over keys that it does not know: a rule whose only one is such a key removes
    all of the cache, a minute after each build.
    """
    rule = {key: str(value) if key.endswith("Space") else value for key, value in policy.items()}
    age = rule.pop("keepDuration", None)
    return {**rule, "filter": [f"unused-for={age}"]} if age else rule


def daemon_json(spec: SharedDockerDaemonSpec, mirrors: Sequence[str]) -> dict[str, Any]:
    """Return the daemon's configuration: limits of the build cache and logs, and registries."""
    volume = int(quantity(spec.volume_size))
    settings: dict[str, Any] = {
        "builder": {
            "gc": {
                "enabled": True,
                "policy": [
                    _gc_rule(policy)
                    for policy in daemon.gc_policies(
                        volume, spec.build_cache_percent, spec.build_cache_keep_hours
                    )
                ],
            }
        },
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }
    if mirrors:
        settings["registry-mirrors"] = list(mirrors)
    if spec.metrics_namespaces:
        settings["metrics-addr"] = f"0.0.0.0:{net.DOCKER_METRICS_PORT}"
    if spec.insecure_registries:
        settings["insecure-registries"] = spec.insecure_registries
    return settings
