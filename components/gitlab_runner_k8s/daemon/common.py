"""Code that both shared daemons use: certificates, pods, network policies, garbage collection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..kubernetes import certificates as pki
from ..kubernetes import network_policy as net
from ..kubernetes import nodes, workloads
from ..meta import script
from ..outputs import concat, lift, sha256
from ..runner.config_toml import CLIENT_CERTIFICATE_FILES
from ..runner.connections import MAXIMUM_REPLICAS
from .settings import DAEMON_STOP_SECONDS, BuildKitDaemonSettings, SharedDockerDaemonSettings

Daemon = SharedDockerDaemonSettings | BuildKitDaemonSettings
_DRAIN = "drain.sh"
_START_SECONDS = 600
"""Seconds that a daemon may take to read a full volume at its start."""
_HUNG_SECONDS = 30
"""Seconds that a daemon has to end after it has not answered its own probe for three minutes."""


@dataclass(frozen=True)
class Kind:
    """A kind of daemon: the properties in which the kinds differ."""

    component: str
    port: int
    data_path: str
    config_path: str
    key_mode: int
    """Mode of the files with keys, which the daemon's user must be able to read."""
    user: int = 0
    """User ID of the daemon's pod, and owner of its volume. With 0, the image decides."""
    pod_suffix: str = ""
    """Suffix of the names of the pod and its volume, after the component's name."""
    scratch: Mapping[str, str] = field(default_factory=dict)
    """Folders to which the daemon writes temporary files, by the name of their volume."""
    registry_certs: str | None = None
    """Folder below `config_path` with a folder for each registry that has a certificate. With None,
    the certificates are files of the configuration."""
    empty: Mapping[str, str] = field(default_factory=dict)
    """Folders to which nothing may write, by the name of their volume."""

    @property
    def server_certs_path(self) -> str:
        """Path of the daemon's own certificate."""
        return f"/{self.component}-server"

    @property
    def client_certs_path(self) -> str:
        """Path of the client certificate for the daemon's probe."""
        return f"/{self.component}-client"


@dataclass(frozen=True)
class Certificates:
    """The Secrets of mutual TLS, each with `ca.pem`, `cert.pem` and `key.pem`."""

    server: k8s.core.v1.Secret
    probe: k8s.core.v1.Secret
    """The client certificate of the daemon's own probe, which makes a real call."""
    client: k8s.core.v1.Secret
    """The client certificate of jobs, in the job namespace."""
    checksum: pulumi.Output[str]
    expires: pulumi.Output[str]
    """Time at which the server's certificate ends. The client's ends at the same time."""


def _service_name(name: str, number: int) -> str:
    """Return the name of a daemon's Service. The first has the component's name."""
    return f"{name}-{number}" if number else name


def _host_name(name: str, settings: Daemon, number: int = 0) -> pulumi.Input[str]:
    """Return the DNS name of a daemon's Service."""
    service = _service_name(name, number)
    return concat(service, ".", settings.namespace, ".svc.", settings.cluster_domain)


def address(name: str, kind: Kind, settings: Daemon) -> pulumi.Output[str]:
    """Return the address of the daemon's Service, or of the first daemon's if there are several."""
    return pulumi.Output.from_input(concat("tcp://", _host_name(name, settings), f":{kind.port}"))


def certificates(
    name: str, kind: Kind, settings: Daemon, opts: pulumi.ResourceOptions
) -> Certificates:
    """Declare an authority, the certificates of the server and the client, and their Secrets.

    The authority's key never enters the cluster. A renewal keeps the authority, so the certificates
    of running jobs stay valid until they expire.
    """
    authority = pki.authority(name, f"{name} {kind.component} CA", settings.ca_validity_hours, opts)
    names = [
        "localhost",
        name,
        concat(name, ".", settings.namespace),
        concat(name, ".", settings.namespace, ".svc"),
        _host_name(name, settings),
    ]
    if settings.replicas > 1:
        # The names of all possible daemons, so that another number does not restart them.
        names += [_host_name(name, settings, number) for number in range(1, MAXIMUM_REPLICAS)]
    validity = (settings.certificate_validity_hours, settings.certificate_renewal_hours)
    server = pki.certificate(name, "server", authority, validity, opts, dns_names=names)
    client = pki.certificate(name, "client", authority, validity, opts)

    def secret(role: str, namespace: pulumi.Input[str], leaf: pki.KeyPair) -> k8s.core.v1.Secret:
        texts = (authority.certificate, leaf.certificate, leaf.key)
        return k8s.core.v1.Secret(
            f"{name}-{role}",
            metadata={"name": f"{name}-{role}", "namespace": namespace},
            string_data=dict(zip(CLIENT_CERTIFICATE_FILES, texts, strict=True)),
            opts=opts,
        )

    return Certificates(
        secret("server", settings.namespace, server),
        secret("probe", settings.namespace, client),
        secret("client", settings.job_namespace, client),
        pulumi.Output.all(authority.certificate, server.certificate, client.certificate).apply(
            lambda texts: sha256("".join(texts))
        ),
        server.expires,
    )


def registry_certificate_files(settings: Daemon) -> dict[str, str]:
    """Return the names of the files with registries' certificates, by registry."""
    return {
        host: f"registry-{number}.crt" for number, host in enumerate(settings.registry_certificates)
    }


def flags(directory: str) -> list[str]:
    """Return the flags for certificates, which dockerd, docker, buildkitd and buildctl share."""
    names = zip(("tlscacert", "tlscert", "tlskey"), CLIENT_CERTIFICATE_FILES, strict=True)
    return [f"--{flag}={directory}/{file}" for flag, file in names]


def volume_mounts(kind: Kind) -> list[dict[str, Any]]:
    """Return the mounts of the data volume, the configuration, certificates and scratch folders."""
    read_only = {
        "config": kind.config_path,
        "server": kind.server_certs_path,
        "probe": kind.client_certs_path,
        **kind.empty,
    }
    return [
        {"name": "data", "mountPath": kind.data_path},
        *({"name": n, "mountPath": path, "readOnly": True} for n, path in read_only.items()),
        *({"name": n, "mountPath": path} for n, path in kind.scratch.items()),
    ]


def container(
    name: str,
    kind: Kind,
    settings: Daemon,
    *,
    image: str,
    arguments: list[str],
    over_socket: list[str],
    over_tls: list[str],
    security_context: dict[str, Any],
    environment: Mapping[str, pulumi.Input[str]] | None = None,
    started: list[str] | None = None,
    busy: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the daemon's container.

    The daemon has started, and is alive, if a call over its own socket succeeds. It is ready if a
    call with mutual TLS succeeds. `started` is the command of the first of these probes, and `busy`
    tells new jobs to wait while the daemon drains.
    """
    drain_seconds = settings.termination_grace_period_seconds - DAEMON_STOP_SECONDS
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        **(
            {"env": [{"name": key, "value": value} for key, value in environment.items()]}
            if environment
            else {}
        ),
        "ports": [{"name": f"{kind.component}-tls", "containerPort": kind.port}],
        "startupProbe": {
            "exec": {"command": started or over_socket},
            "periodSeconds": 2,
            "timeoutSeconds": 10,
            "failureThreshold": _START_SECONDS // 2,
        },
        "readinessProbe": {
            "exec": {"command": over_tls},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
        },
        "livenessProbe": {
            "exec": {"command": over_socket},
            "periodSeconds": 30,
            "timeoutSeconds": 20,
            "failureThreshold": 6,
            # A daemon that hangs is killed without the drain, which would wait for its clients.
            "terminationGracePeriodSeconds": _HUNG_SECONDS,
        },
        # While this runs, the pod is terminating and still ready. kube-proxy sends new connections
        # to it as long as the Service has no other endpoint (KEP-1669), so new jobs do not have to
        # wait for the next pod.
        "lifecycle": {
            "preStop": {
                "exec": {
                    "command": [
                        "/bin/sh",
                        f"{kind.config_path}/{_DRAIN}",
                        str(kind.port),
                        str(drain_seconds),
                        *busy,
                    ]
                }
            }
        },
        "resources": settings.resources.kubernetes(),
        "securityContext": security_context,
        "volumeMounts": volume_mounts(kind),
    }


def stateful_set(
    name: str,
    kind: Kind,
    settings: Daemon,
    certificates: Certificates,
    files: dict[str, pulumi.Input[str]],
    config: tuple[str, pulumi.Input[str]],
    pod: dict[str, Any],
    opts: pulumi.ResourceOptions,
    *,
    scratch: Sequence[str] = (),
) -> k8s.apps.v1.StatefulSet:
    """Declare the Services, the configuration and the pods of a component's daemons.

    Args:
        name: Name of the component.
        kind: Kind of the daemons.
        settings: The component's arguments.
        certificates: Certificates that the pods mount.
        files: Files of the configuration.
        config: Name and text of the configuration. A change restarts the pods.
        pod: The pod's spec, with its containers, in addition to the parts that all kinds have.
        opts: Options of the resources.
        scratch: More volumes for temporary files, beside the kind's.
    """
    services = [
        # Each daemon has its own Service, because a project's layers are on one daemon. The Service
        # selects the pod by its index, which is the same for every isolation. It does so for a
        # single daemon too, so that a second daemon that still drains gets no connections.
        workloads.service(
            _service_name(name, number),
            settings.namespace,
            (kind.component, name),
            {f"{kind.component}-tls": kind.port},
            resource_name=_service_name(f"{name}-service", number),
            pod_index=number,
            opts=opts,
        )
        for number in range(settings.replicas)
    ]
    authorities = registry_certificate_files(settings)
    texts = {file: settings.registry_certificates[host] for host, file in authorities.items()}
    files = {**files, _DRAIN: script("daemon/drain.sh"), **texts}
    config_map = k8s.core.v1.ConfigMap(
        f"{name}-config",
        metadata={"name": f"{name}-config", "namespace": settings.namespace},
        data=files,
        opts=opts,
    )
    paths = {file: file for file in files}
    if kind.registry_certs is not None:
        paths |= {
            file: f"{kind.registry_certs}/{host}/ca.crt" for host, file in authorities.items()
        }
    title, text = config
    text = concat(text, *texts.values())
    # The old pod drains before the new pod starts. The provider's default is only 10 minutes.
    seconds = settings.replicas * (settings.termination_grace_period_seconds + _START_SECONDS) + 300
    timeout = f"{seconds}s"
    # The volume's root keeps its group. With OnRootMismatch, the kubelet therefore does not set the
    # group of every file of every layer again when the pod starts.
    security = {
        "runAsUser": kind.user,
        "runAsGroup": kind.user,
        "runAsNonRoot": True,
        "fsGroup": kind.user,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": workloads.selector(kind.component, name)},
    }
    return workloads.stateful_set(
        f"{name}{kind.pod_suffix}",
        settings.namespace,
        (kind.component, name),
        {
            "nodeSelector": settings.node_selector,
            "tolerations": settings.tolerations or nodes.own_tolerations(settings.node_selector),
            "terminationGracePeriodSeconds": settings.termination_grace_period_seconds,
            "volumes": [
                workloads.config_volume("config", config_map, paths if texts else {}),
                workloads.secret_volume("server", certificates.server, kind.key_mode),
                workloads.secret_volume("probe", certificates.probe, kind.key_mode),
                *(
                    {"name": volume, "emptyDir": {}}
                    for volume in (*kind.scratch, *kind.empty, *scratch)
                ),
            ],
            **({"securityContext": security} if kind.user else {}),
            **({"topologySpreadConstraints": [spread]} if settings.replicas > 1 else {}),
            **pod,
        },
        resource_name=f"{name}-daemon",
        service_name=name,
        replicas=settings.replicas,
        parallel=True,
        # The daemon reads the certificates and the configuration only at its start.
        annotations={
            "checksum/certificates": certificates.checksum,
            f"checksum/{title}": lift(sha256, text),
        },
        volume_size=settings.volume_size,
        storage_class_name=settings.storage_class_name,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=services,
                custom_timeouts=pulumi.CustomTimeouts(
                    create=timeout, update=timeout, delete=timeout
                ),
            ),
        ),
    )


def client_secret_name(
    certificates: Certificates, pods: k8s.apps.v1.StatefulSet
) -> pulumi.Output[str]:
    """Return the name of the client's Secret, which is known only once the daemon answers."""
    return pulumi.Output.all(certificates.client.metadata["name"], pods.id).apply(
        lambda names: str(names[0])
    )


def policy(
    name: str,
    kind: Kind,
    settings: Daemon,
    opts: pulumi.ResourceOptions,
    *,
    more_ingress: Sequence[net.Rule] = (),
) -> None:
    """Let the jobs reach the daemon, and let the daemon reach the internet and its mirrors."""
    net.policy(
        name,
        settings.namespace,
        ingress=[
            *net.namespace_rule([settings.job_namespace], kind.port),
            *more_ingress,
        ],
        egress=lift(
            lambda mirrors: [
                net.dns(settings.dns_cidrs),
                net.internet(settings.egress_cidrs),
                *(rule for mirror in mirrors for rule in net.to_service(mirror)),
            ],
            settings.registry_mirrors,
        ),
        opts=opts,
    )


def disruption_budget(
    name: str, kind: Kind, settings: Daemon, opts: pulumi.ResourceOptions
) -> None:
    """Keep a node drain from evicting the daemon, if the settings say so."""
    if settings.enable_disruption_budget:
        budget: Any = {
            "maxUnavailable": 0,
            "selector": {"matchLabels": workloads.selector(kind.component, name)},
        }
        k8s.policy.v1.PodDisruptionBudget(
            name, metadata={"name": name, "namespace": settings.namespace}, spec=budget, opts=opts
        )


def gc_policies(volume: int, percent: int, keep_hours: int) -> list[dict[str, Any]]:
    """Return BuildKit's rules of garbage collection: by age, by size, and for all cache by size.

    Sizes are in bytes.
    """
    room = {
        "reservedSpace": volume // 10,
        "maxUsedSpace": volume * percent // 100,
        "minFreeSpace": volume // 10,
    }
    return [
        # Without a size: with a size, BuildKit removes older cache only above that size.
        {"keepDuration": f"{keep_hours}h"},
        room,
        {**room, "all": True},
    ]
