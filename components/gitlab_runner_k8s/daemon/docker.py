"""`SharedDockerDaemon`: a Docker daemon for all jobs, which keeps the layers of all builds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..arguments import SharedDockerDaemonArgs
from ..kubernetes import network_policy as net
from ..meta import script, type_token
from ..outputs import lift
from ..runner.config_toml import DRAINING_VOLUME
from ..validation.messages import validate
from ..validation.rules.kubernetes import STATEFUL_SET_NAME, name_problems, quantity
from ..validation.tables import merge
from . import common as daemon
from .extra_config import parse
from .settings import BASE_IMAGES, DockerSettings, SharedDockerDaemonSettings

PRIVILEGED = daemon.Kind(
    "docker",
    net.DOCKER_PORT,
    "/var/lib/docker",
    "/etc/docker",
    0o400,
    scratch={"run": "/run"},
    registry_certs="certs.d",
    # With nothing there, the image's entry point would mount a folder that anybody can write to.
    empty={"tmp": "/tmp"},
)
# The layers of a rootless daemon belong to other users. Its pod and its volume have another name,
# so that the two kinds never use the same volume. A rootless daemon also sees another /etc.
ROOTLESS = daemon.Kind(
    "docker",
    net.DOCKER_PORT,
    "/home/rootless/.local/share/docker",
    "/docker-config",
    0o440,
    user=1000,
    pod_suffix="-rootless",
    # Relative to XDG_CONFIG_HOME, where a rootless daemon looks for them.
    registry_certs="docker/certs.d",
    scratch={"run": "/run/user/1000", "tmp": "/tmp"},
)


_PRUNE_SECONDS = 600
"""Seconds between two runs of the pruning."""
_PRUNE_STATE = "/run/prune"


def kind_of(settings: DockerSettings) -> daemon.Kind:
    """Return the kind of daemon of an isolation."""
    return ROOTLESS if settings.is_rootless else PRIVILEGED


class SharedDockerDaemon(pulumi.ComponentResource):
    """A Docker daemon on a volume, which jobs reach only over mutual TLS.

    Anyone who has the client certificate is root on the daemon's node, unless the daemon is
    rootless. Let only projects that trust each other use the same daemon. The volume outlives the
    component. The authority's key never enters the cluster.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    docker_host: pulumi.Output[str]
    """Address of the daemon, for DOCKER_HOST. With several daemons, it is the address of the first
    daemon."""
    client_secret_name: pulumi.Output[str]
    """Secret in the job namespace with the client certificate: `ca.pem`, `cert.pem`, `key.pem`."""
    namespace: pulumi.Output[str]
    """Namespace of the daemon."""

    def __init__(
        self,
        name: str,
        args: SharedDockerDaemonArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME - len(ROOTLESS.pod_suffix), name)
        settings = validate(
            SharedDockerDaemonSettings, args, f"SharedDockerDaemon '{name}'", also=names
        )
        super().__init__(type_token("SharedDockerDaemon"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.docker_host = daemon.address(name, PRIVILEGED, settings)
        self.namespace = pulumi.Output.from_input(settings.namespace)
        certificates = daemon.certificates(name, PRIVILEGED, settings, child)
        self._certificate_expires = certificates.expires
        self._stateful_set = self._daemon(name, settings, certificates)
        if settings.enable_network_policies:
            readers = net.namespace_rule(settings.metrics_namespaces, net.DOCKER_METRICS_PORT)
            daemon.policy(name, PRIVILEGED, settings, child, more_ingress=readers)
        daemon.disruption_budget(name, PRIVILEGED, settings, child)
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
        """The daemon's StatefulSet (Python only)."""
        return self._stateful_set

    @property
    def certificate_expires(self) -> pulumi.Output[str]:
        """Time at which the certificates end, in RFC 3339 (Python only)."""
        return self._certificate_expires

    def _daemon(
        self, name: str, settings: SharedDockerDaemonSettings, certificates: daemon.Certificates
    ) -> k8s.apps.v1.StatefulSet:
        proxy = settings.proxy.variables(str(settings.cluster_domain)) if settings.proxy else {}
        config = lift(
            lambda values: json.dumps(daemon_json(settings, *values), sort_keys=True, indent=2),
            [settings.registry_mirrors, proxy],
        )
        kind = kind_of(settings)
        image = settings.image or settings.default_image
        socket = "unix:///run/user/1000/docker.sock" if kind.user else "unix:///var/run/docker.sock"
        temporary = kind.scratch["tmp" if kind.user else "run"]
        container = daemon.container(
            "docker",
            kind,
            settings,
            image=image,
            arguments=[*_arguments(kind, settings.mtu, socket), *_rootless_arguments(kind)],
            over_socket=["docker", f"--host={socket}", "version"],
            started=["/bin/sh", f"{kind.config_path}/started.sh", socket, DRAINING_VOLUME],
            busy=["docker", f"--host={socket}", "volume", "create", DRAINING_VOLUME],
            over_tls=_version_over_tls(kind),
            # A bind mount of a job's own path fails, because the daemon does not have the path and
            # cannot create it. Otherwise the job would find an empty folder, and leave its files.
            security_context={"privileged": True, "readOnlyRootFilesystem": True},
            environment={
                # For runc, which writes a file for each `docker exec`.
                "TMPDIR": temporary,
                # buildx writes to its configuration even to inspect the daemon.
                "DOCKER_CONFIG": f"{temporary}/client",
                **(
                    {"DOCKER_MIN_API_VERSION": settings.minimum_api_version}
                    if settings.minimum_api_version
                    else {}
                ),
                **(_rootless_environment(settings) if kind.user else {}),
            },
        )
        if settings.metrics_namespaces:
            container["ports"].append({"name": "metrics", "containerPort": net.DOCKER_METRICS_PORT})
        return daemon.stateful_set(
            name,
            kind,
            settings,
            certificates,
            {
                "daemon.json": config,
                "reserve.sh": script("daemon/reserve.sh"),
                "started.sh": script("daemon/started.sh"),
                **({"prune.sh": script("daemon/prune.sh")} if settings.enable_pruning else {}),
            },
            ("daemon-json", config),
            {
                "initContainers": [
                    _make_room(kind, image),
                    *([_prune(kind, settings, image)] if settings.enable_pruning else []),
                ],
                "containers": [container],
            },
            pulumi.ResourceOptions(parent=self),
            scratch=("prune",) if settings.enable_pruning else (),
        )


def _make_room(kind: daemon.Kind, image: str) -> dict[str, Any]:
    """Return the init container that makes room on a full volume, so that the daemon starts."""
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


def _prune(kind: daemon.Kind, settings: SharedDockerDaemonSettings, image: str) -> dict[str, Any]:
    """Return the container that removes containers, networks, volumes and images that jobs leave.

    It is a sidecar as Kubernetes defines it: an init container that keeps running. Kubernetes stops
    it only after the daemon has ended. If it ended first, the pod would not be ready, and the
    daemon would get no new connections while it drains.
    """
    data, config, _, client, *_ = daemon.volume_mounts(kind)
    arguments = (
        kind.data_path,
        settings.maximum_job_timeout_seconds,
        settings.prune_keep_hours,
        settings.prune_above_percent,
        _PRUNE_STATE,
        _PRUNE_SECONDS,
    )
    environment = {
        "DOCKER_HOST": f"tcp://localhost:{kind.port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": kind.client_certs_path,
    }
    if settings.enable_image_protection:
        patterns = [*BASE_IMAGES, *map(_familiar, settings.protected_images)]
        environment["PROTECTED_IMAGES"] = "\n".join(patterns)
    state = {"name": "prune", "mountPath": _PRUNE_STATE}
    return {
        "name": "prune",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["/bin/sh", f"{kind.config_path}/prune.sh", *map(str, arguments)],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            # With little CPU it would take names too late.
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": _unprivileged(),
        # The volume only shows how full it is.
        "volumeMounts": [{**data, "readOnly": True}, config, client, state],
    }


def _familiar(pattern: str) -> str:
    """Return a pattern of names as docker shows them: without what stands for Docker Hub."""
    return pattern.removeprefix("docker.io/").removeprefix("library/")


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
        # `--mtu` is only for the default bridge. compose and buildx create their own networks.
        f"--default-network-opt=bridge=com.docker.network.driver.mtu={mtu}",
    ]


def _rootless_arguments(kind: daemon.Kind) -> list[str]:
    if not kind.user:
        return []
    return [
        f"--config-file={kind.config_path}/daemon.json",
        # The daemon must own its data folder to set its mode, but root owns the volume's root.
        f"--data-root={kind.data_path}/data",
    ]


def _rootless_environment(settings: SharedDockerDaemonSettings) -> dict[str, str]:
    """Return the variables of the image's RootlessKit, which has its own network namespace."""
    ports = [net.DOCKER_PORT, *([net.DOCKER_METRICS_PORT] if settings.metrics_namespaces else [])]
    return {
        "XDG_CONFIG_HOME": ROOTLESS.config_path,
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "DOCKERD_ROOTLESS_ROOTLESSKIT_MTU": str(settings.mtu),
        "DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS": " ".join(
            f"--publish=0.0.0.0:{port}:{port}/tcp" for port in ports
        ),
    }


def _version_over_tls(kind: daemon.Kind) -> list[str]:
    address = f"--host=tcp://localhost:{kind.port}"
    return ["docker", address, "--tlsverify", *daemon.flags(kind.client_certs_path), "version"]


def _gc_rule(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a BuildKit rule in dockerd's format: sizes as text, and the age as a filter.

    dockerd ignores keys that it does not know. A rule that has only unknown keys would remove the
    whole cache, a minute after each build.
    """
    rule = {key: str(value) if key.endswith("Space") else value for key, value in policy.items()}
    age = rule.pop("keepDuration", None)
    return {**rule, "filter": [f"unused-for={age}"]} if age else rule


def daemon_json(
    settings: SharedDockerDaemonSettings, mirrors: Sequence[str], proxy: Mapping[str, str]
) -> dict[str, Any]:
    """Return the daemon's configuration: limits of build cache and logs, networks, registries."""
    volume = int(quantity(settings.volume_size))
    config: dict[str, Any] = {
        "builder": {
            "gc": {
                "enabled": True,
                "policy": [
                    _gc_rule(policy)
                    for policy in daemon.gc_policies(
                        volume, settings.build_cache_percent, settings.build_cache_keep_hours
                    )
                ],
            }
        },
        "default-address-pools": [
            {"base": pool.base, "size": pool.size} for pool in settings.address_pools
        ],
        "log-driver": "json-file",
        "log-opts": {
            "max-size": str(int(quantity(settings.container_log_size))),
            "max-file": str(settings.container_log_files),
        },
    }
    if settings.bridge_address:
        config["bip"] = settings.bridge_address
    if proxy:
        config["proxies"] = {name.lower().replace("_", "-"): value for name, value in proxy.items()}
    if mirrors:
        config["registry-mirrors"] = list(mirrors)
    if settings.metrics_namespaces:
        config["metrics-addr"] = f"0.0.0.0:{net.DOCKER_METRICS_PORT}"
    if settings.insecure_registries:
        config["insecure-registries"] = settings.insecure_registries
    return merge(config, parse(settings.extra_daemon_config, json.loads))
