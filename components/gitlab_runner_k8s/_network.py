"""NetworkPolicy rules: pure functions from addresses to what may be reached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s

_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")
"""Where the clouds' metadata services are."""
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_EVERYWHERE = ("0.0.0.0/0", "::/0")

Rule = dict[str, Any]

DOCKER_PORT = 2376
S3_PORT = 9000
METRICS_PORT = 9252
DOCKER_METRICS_PORT = 9323

EKS_POD_IDENTITY = ["169.254.170.23/32", "fd00:ec2::23/128"]
"""Where EKS Pod Identity's agent answers, on port 80; it knows each pod's own role alone."""
GKE_METADATA = {"169.254.169.254/32": [80], "169.254.169.252/32": [987, 988]}
"""Where GKE's metadata server answers, with Dataplane V2 and without it."""


def ports(*numbers: int, protocol: str = "TCP") -> list[Rule]:
    """Return ports of a rule."""
    return [{"port": number, "protocol": protocol} for number in numbers]


def namespace_peer(namespace: pulumi.Input[str]) -> Rule:
    """Return the peer for every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def dns(cidrs: Sequence[str]) -> Rule:
    """Return the egress rule to the cluster's DNS: its pods, and a cache on each node."""
    peer = namespace_peer("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    caches = ({"ipBlock": {"cidr": cidr}} for cidr in cidrs)
    return {"to": [peer, *caches], "ports": [*ports(53, protocol="UDP"), *ports(53)]}


def _blocks(excluded: Sequence[str]) -> list[Rule]:
    """Return the peers for every address, of either family, but some."""
    blocks = []
    for cidr in _EVERYWHERE:
        kept = [other for other in excluded if (":" in other) == (":" in cidr)]
        blocks.append({"ipBlock": {"cidr": cidr, "except": kept}})
    return blocks


def internet(allowed: Sequence[str] = ()) -> Rule:
    """Return the egress rule to public addresses and the private ranges that were allowed."""
    private = ({"ipBlock": {"cidr": cidr}} for cidr in allowed)
    return {"to": [*_blocks([*_PRIVATE, *_LINK_LOCAL]), *private]}


def _anywhere(*numbers: int) -> Rule:
    """Return the egress rule to some ports of every address but the metadata service."""
    return {"to": _blocks(_LINK_LOCAL), "ports": ports(*numbers)}


def _service(address: str) -> tuple[str | None, int]:
    """Return the namespace (None outside of the cluster) and port of a URL or `host:port`."""
    url = urlsplit(address if "//" in address else f"//{address}")
    port = url.port or (80 if url.scheme == "http" else 443)
    host = (url.hostname or "").split(".")
    return (host[1] if len(host) > 2 and host[2] == "svc" else None), port


def to_service(address: str, pod_port: int | None = None) -> list[Rule]:
    """Return the egress rule to a Service of the cluster; none for an address outside of it.

    A policy sees the port of the pods, which is the Service's unless another is given.
    """
    namespace, port = _service(address)
    peer = namespace and namespace_peer(namespace)
    return [{"to": [peer], "ports": ports(pod_port or port)}] if peer else []


def namespace_rule(namespaces: Sequence[pulumi.Input[str]], port: int) -> list[Rule]:
    """Return the ingress rule for every pod of some namespaces; none where there are none."""
    peers = [namespace_peer(namespace) for namespace in namespaces]
    return [{"from": peers, "ports": ports(port)}] if peers else []


@dataclass(frozen=True)
class Surroundings:
    """What the policies of a runner have to know of the cluster."""

    dns_cidrs: Sequence[str]
    """Where caches of the cluster's DNS answer, beside its pods."""
    egress_cidrs: Sequence[str]
    """Private ranges that jobs may reach."""
    api_server_ports: Sequence[int]
    gitlab_port: int | None = None
    """Port of GitLab's pods: a policy sees that, not a Service's."""
    identity: str | None = None
    """Kind of the store, `s3` or `gcs`, that the runner reaches by its own identity."""


def identity(kind: str | None) -> list[Rule]:
    """Return the egress rules to where the runner gets credentials for its own identity."""
    if kind == "s3":
        return [
            {
                "to": [{"ipBlock": {"cidr": cidr}} for cidr in EKS_POD_IDENTITY],
                "ports": ports(80),
            }
        ]
    if kind == "gcs":
        return [
            {"to": [{"ipBlock": {"cidr": cidr}}], "ports": ports(*numbers)}
            for cidr, numbers in GKE_METADATA.items()
        ]
    return []


def manager_egress(addresses: Mapping[str, str | None], around: Surroundings) -> list[Rule]:
    """Return what the runner itself may reach: DNS, the API server, GitLab and the store.

    NetworkPolicy knows no host names, so the API server and GitLab are given by port.
    """
    gitlab, store = addresses["gitlab"], addresses["store"]
    assert gitlab is not None
    outside = {*around.api_server_ports, _service(gitlab)[1]}
    if around.gitlab_port:
        outside.add(around.gitlab_port)
    return [
        dns(around.dns_cidrs),
        _anywhere(*sorted(outside)),
        *(to_service(store) if store else []),
        *identity(around.identity),
    ]


def job_egress(addresses: Mapping[str, str | None], around: Surroundings) -> list[Rule]:
    """Return what jobs may reach: DNS, the internet, and the platform's own services."""
    services = [to_service(address) for address in addresses.values() if address]
    gitlab = addresses.get("gitlab")
    if gitlab and around.gitlab_port:
        services.append(to_service(gitlab, around.gitlab_port))
    return [
        dns(around.dns_cidrs),
        internet(around.egress_cidrs),
        *(rule for rules in services for rule in rules),
    ]


def policy(
    name: str,
    namespace: pulumi.Input[str],
    *,
    ingress: Any,
    egress: Any,
    pods: Mapping[str, str] | None = None,
    opts: pulumi.ResourceOptions,
) -> k8s.networking.v1.NetworkPolicy:
    """Declare a NetworkPolicy that denies, both ways, all but the given rules.

    It applies to the pods with the given labels; by default to every pod of the namespace.
    """
    return k8s.networking.v1.NetworkPolicy(
        name,
        metadata={"name": name, "namespace": namespace},
        spec={
            "pod_selector": {"match_labels": pods} if pods else {},
            "policy_types": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
        opts=opts,
    )
