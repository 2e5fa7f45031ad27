"""What the daemons that build for all jobs have in common: certificates, network, disruption."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from . import _certificates as pki
from . import _kubernetes as kube
from . import _network as net
from ._config_toml import DOCKER_CERTS
from ._inputs import concat, lift, sha256
from ._specs import BuildKitDaemonSpec, SharedDockerDaemonSpec

Daemon = SharedDockerDaemonSpec | BuildKitDaemonSpec


@dataclass(frozen=True)
class Certificates:
    """The Secrets of mutual TLS, each with `ca.pem`, `cert.pem` and `key.pem`."""

    server: k8s.core.v1.Secret
    probe: k8s.core.v1.Secret
    """The daemon's own probe makes a real call, so it is a client too."""
    client: k8s.core.v1.Secret
    """In the job namespace."""
    checksum: pulumi.Output[str]


def host_name(name: str, spec: Daemon) -> pulumi.Input[str]:
    """Return the DNS name of the daemon's Service."""
    return concat(name, ".", spec.namespace, ".svc.", spec.cluster_domain)


def certificates(name: str, what: str, spec: Daemon, opts: pulumi.ResourceOptions) -> Certificates:
    """Declare an authority, a server's and a client's certificate, and their Secrets.

    The authority's key never enters the cluster. A renewal keeps the authority, so that the
    certificates of running jobs stay good until they expire by themselves.
    """
    authority = pki.authority(name, f"{name} {what} CA", spec.ca_validity_hours, opts)
    names = [
        "localhost",
        name,
        concat(name, ".", spec.namespace),
        concat(name, ".", spec.namespace, ".svc"),
        host_name(name, spec),
    ]
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


def policy(
    name: str,
    spec: Daemon,
    port: int,
    opts: pulumi.ResourceOptions,
    *,
    more_ingress: Sequence[net.Rule] = (),
) -> None:
    """Let the jobs reach the daemon, and the daemon the internet and its mirrors."""
    net.policy(
        name,
        spec.namespace,
        ingress=[
            {"from": [net.namespace_peer(spec.job_namespace)], "ports": net.ports(port)},
            *more_ingress,
        ],
        egress=lift(
            lambda mirrors: [
                net.dns(),
                net.internet(spec.egress_cidrs),
                *(rule for mirror in mirrors for rule in net.to_service(mirror)),
            ],
            spec.registry_mirrors,
        ),
        opts=opts,
    )


def disruption_budget(
    name: str, component: str, spec: Daemon, opts: pulumi.ResourceOptions
) -> None:
    """Keep a node drain from evicting the daemon, where that is asked for."""
    if spec.enable_disruption_budget:
        budget: Any = {
            "maxUnavailable": 0,
            "selector": {"matchLabels": kube.selector(component, name)},
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
        {"keepDuration": f"{keep_hours}h", "maxUsedSpace": volume // 10},
        room,
        {**room, "all": True},
    ]
