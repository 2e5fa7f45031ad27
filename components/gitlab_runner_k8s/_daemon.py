"""What the daemons that build for all jobs have in common: certificates, network, disruption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from . import _certificates as pki
from . import _kubernetes as kube
from . import _network as net
from ._config_toml import DOCKER_CERTS
from ._inputs import concat, lift, sha256
from ._meta import script
from ._specs import (
    DAEMON_STOP_SECONDS,
    MAXIMUM_REPLICAS,
    BuildKitDaemonSpec,
    SharedDockerDaemonSpec,
)

Daemon = SharedDockerDaemonSpec | BuildKitDaemonSpec
_DRAIN = "drain.sh"
_START_SECONDS = 600
"""What a full volume may take to be read."""


@dataclass(frozen=True)
class Kind:
    """A kind of daemon: what is its own beside what all of them have."""

    component: str
    port: int
    data_path: str
    config_path: str
    key_mode: int
    """Mode of the files with keys, for whoever the daemon runs as."""
    user: int = 0
    """Whom the daemon's pod runs as, and who owns its volume; 0 is left to the image."""
    pod_suffix: str = ""
    """What the pod's name, and that of its volume, have behind the component's."""
    scratch: Mapping[str, str] = field(default_factory=dict)
    """Folders that the daemon writes to and nobody keeps, by the name of their volume."""

    @property
    def server_certs_path(self) -> str:
        """Where the daemon finds its own certificate."""
        return f"/{self.component}-server"

    @property
    def client_certs_path(self) -> str:
        """Where the daemon's probe finds a client's certificate."""
        return f"/{self.component}-client"


@dataclass(frozen=True)
class Certificates:
    """The Secrets of mutual TLS, each with `ca.pem`, `cert.pem` and `key.pem`."""

    server: k8s.core.v1.Secret
    probe: k8s.core.v1.Secret
    """The daemon's own probe makes a real call, so it is a client too."""
    client: k8s.core.v1.Secret
    """In the job namespace."""
    checksum: pulumi.Output[str]


def _service_name(name: str, number: int) -> str:
    """Return the name of a daemon's Service: that of the first is the component's."""
    return f"{name}-{number}" if number else name


def _host_name(name: str, spec: Daemon, number: int = 0) -> pulumi.Input[str]:
    """Return the DNS name of a daemon's Service."""
    service = _service_name(name, number)
    return concat(service, ".", spec.namespace, ".svc.", spec.cluster_domain)


def address(name: str, kind: Kind, spec: Daemon) -> pulumi.Output[str]:
    """Return the address of the daemon's Service."""
    return pulumi.Output.from_input(concat("tcp://", _host_name(name, spec), f":{kind.port}"))


def certificates(name: str, kind: Kind, spec: Daemon, opts: pulumi.ResourceOptions) -> Certificates:
    """Declare an authority, a server's and a client's certificate, and their Secrets.

    The authority's key never enters the cluster. A renewal keeps the authority, so that the
    certificates of running jobs stay good until they expire by themselves.
    """
    authority = pki.authority(name, f"{name} {kind.component} CA", spec.ca_validity_hours, opts)
    names = [
        "localhost",
        name,
        concat(name, ".", spec.namespace),
        concat(name, ".", spec.namespace, ".svc"),
        _host_name(name, spec),
    ]
    if spec.replicas > 1:
        # All that there could be: with another number the daemons need not restart.
        names += [_host_name(name, spec, number) for number in range(1, MAXIMUM_REPLICAS)]
    validity = (spec.certificate_validity_hours, spec.certificate_renewal_hours)
    server = pki.leaf(name, "server", authority, validity, opts, dns_names=names)
    client = pki.leaf(name, "client", authority, validity, opts)

    def secret(role: str, namespace: pulumi.Input[str], leaf: pki.KeyPair) -> k8s.core.v1.Secret:
        texts = (authority.certificate, leaf.certificate, leaf.key)
        return k8s.core.v1.Secret(
            f"{name}-{role}",
            metadata={"name": f"{name}-{role}", "namespace": namespace},
            string_data=dict(zip(DOCKER_CERTS, texts, strict=True)),
            opts=opts,
        )

    return Certificates(
        secret("server", spec.namespace, server),
        secret("probe", spec.namespace, client),
        secret("client", spec.job_namespace, client),
        pulumi.Output.all(authority.certificate, server.certificate, client.certificate).apply(
            lambda known: sha256("".join(known))
        ),
    )


def flags(directory: str) -> list[str]:
    """Return the flags that tell dockerd, docker, buildkitd and buildctl of certificates."""
    names = zip(("tlscacert", "tlscert", "tlskey"), DOCKER_CERTS, strict=True)
    return [f"--{flag}={directory}/{file}" for flag, file in names]


def volume_mounts(kind: Kind) -> list[dict[str, Any]]:
    """Return the mounts of the daemon's volume, its configuration, certificates and scratch."""
    read_only = {
        "config": kind.config_path,
        "server": kind.server_certs_path,
        "probe": kind.client_certs_path,
    }
    return [
        {"name": "data", "mountPath": kind.data_path},
        *({"name": n, "mountPath": path, "readOnly": True} for n, path in read_only.items()),
        *({"name": n, "mountPath": path} for n, path in kind.scratch.items()),
    ]


def container(
    name: str,
    kind: Kind,
    spec: Daemon,
    *,
    image: str,
    arguments: list[str],
    over_socket: list[str],
    over_tls: list[str],
    security_context: dict[str, Any],
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return the daemon's container.

    It has started, and lives, as long as a call over its own socket goes through; it is ready when
    one with mutual TLS does.
    """
    drain_seconds = spec.termination_grace_period_seconds - DAEMON_STOP_SECONDS
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
            "exec": {"command": over_socket},
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
        },
        # The pod is terminating while this runs, and still ready: kube-proxy sends it new
        # connections as long as the Service has no other endpoint (KEP-1669), so that jobs that
        # start meanwhile need not wait for its successor.
        "lifecycle": {
            "preStop": {
                "exec": {
                    "command": [
                        "/bin/sh",
                        f"{kind.config_path}/{_DRAIN}",
                        str(kind.port),
                        str(drain_seconds),
                    ]
                }
            }
        },
        "resources": spec.resources.kubernetes(),
        "securityContext": security_context,
        "volumeMounts": volume_mounts(kind),
    }


def stateful_set(
    name: str,
    kind: Kind,
    spec: Daemon,
    known: Certificates,
    files: dict[str, pulumi.Input[str]],
    settings: tuple[str, pulumi.Input[str]],
    pod: dict[str, Any],
    opts: pulumi.ResourceOptions,
) -> k8s.apps.v1.StatefulSet:
    """Declare the daemon's Service, its configuration and its pod; with `replicas` several.

    Args:
        name: Name of the component.
        kind: What is declared.
        spec: The component's arguments.
        known: The certificates that it mounts.
        files: Files of its configuration.
        settings: What its settings are called, and their text: a change rolls the pod.
        pod: The pod's own part of its spec, with its containers.
        opts: Options of the resources.
    """
    services = [
        # One for each: a project's layers are on one of them. By its index, which the pods of
        # another isolation have too, and whatever their number: one that drains gets nothing.
        kube.service(
            _service_name(name, number),
            spec.namespace,
            (kind.component, name),
            {f"{kind.component}-tls": kind.port},
            resource_name=_service_name(f"{name}-service", number),
            pod_index=number,
            opts=opts,
        )
        for number in range(spec.replicas)
    ]
    config_map = k8s.core.v1.ConfigMap(
        f"{name}-config",
        metadata={"name": f"{name}-config", "namespace": spec.namespace},
        data={**files, _DRAIN: script("_daemon_drain.sh")},
        opts=opts,
    )
    title, text = settings
    # The old pod drains before the new one starts; the provider itself would wait for 10 minutes.
    seconds = spec.replicas * (spec.termination_grace_period_seconds + _START_SECONDS) + 300
    patience = f"{seconds}s"
    # The volume's root keeps the group that the kubelet gave it: it need not be set again, on every
    # file of every layer, when the pod starts.
    security = {
        "runAsUser": kind.user,
        "runAsGroup": kind.user,
        "runAsNonRoot": True,
        "fsGroup": kind.user,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": kube.selector(kind.component, name)},
    }
    return kube.stateful_set(
        f"{name}{kind.pod_suffix}",
        spec.namespace,
        (kind.component, name),
        {
            "nodeSelector": spec.node_selector,
            "tolerations": spec.tolerations,
            "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
            "volumes": [
                kube.config_volume("config", config_map),
                kube.secret_volume("server", known.server, kind.key_mode),
                kube.secret_volume("probe", known.probe, kind.key_mode),
                *({"name": volume, "emptyDir": {}} for volume in kind.scratch),
            ],
            **({"securityContext": security} if kind.user else {}),
            **({"topologySpreadConstraints": [apart]} if spec.replicas > 1 else {}),
            **pod,
        },
        resource_name=f"{name}-daemon",
        service_name=name,
        replicas=spec.replicas,
        parallel=True,
        # The daemon reads neither again while it runs.
        annotations={
            "checksum/certificates": known.checksum,
            f"checksum/{title}": lift(sha256, text),
        },
        volume_size=spec.volume_size,
        storage_class_name=spec.storage_class_name,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=services,
                custom_timeouts=pulumi.CustomTimeouts(
                    create=patience, update=patience, delete=patience
                ),
            ),
        ),
    )


def client_secret_name(known: Certificates, pods: k8s.apps.v1.StatefulSet) -> pulumi.Output[str]:
    """Return the client's Secret: jobs are pointed at the daemon only once it answers."""
    return pulumi.Output.all(known.client.metadata["name"], pods.id).apply(
        lambda names: str(names[0])
    )


def policy(
    name: str,
    kind: Kind,
    spec: Daemon,
    opts: pulumi.ResourceOptions,
    *,
    more_ingress: Sequence[net.Rule] = (),
) -> None:
    """Let the jobs reach the daemon, and the daemon the internet and its mirrors."""
    net.policy(
        name,
        spec.namespace,
        ingress=[
            *net.namespace_rule([spec.job_namespace], kind.port),
            *more_ingress,
        ],
        egress=lift(
            lambda mirrors: [
                net.dns(spec.dns_cidrs),
                net.internet(spec.egress_cidrs),
                *(rule for mirror in mirrors for rule in net.to_service(mirror)),
            ],
            spec.registry_mirrors,
        ),
        opts=opts,
    )


def disruption_budget(name: str, kind: Kind, spec: Daemon, opts: pulumi.ResourceOptions) -> None:
    """Keep a node drain from evicting the daemon, where that is asked for."""
    if spec.enable_disruption_budget:
        budget: Any = {
            "maxUnavailable": 0,
            "selector": {"matchLabels": kube.selector(kind.component, name)},
        }
        k8s.policy.v1.PodDisruptionBudget(
            name, metadata={"name": name, "namespace": spec.namespace}, spec=budget, opts=opts
        )


def gc_policies(volume: int, percent: int, keep_hours: int) -> list[dict[str, Any]]:
    """Return BuildKit's rules of garbage collection, sizes in bytes: by age, by size, and all."""
    room = {
        "reservedSpace": volume // 10,
        "maxUsedSpace": volume * percent // 100,
        "minFreeSpace": volume // 10,
    }
    return [
        # Without a size: with one, what is older is only removed above it.
        {"keepDuration": f"{keep_hours}h"},
        room,
        {**room, "all": True},
    ]
