"""NetworkPolicies: rules from addresses and namespaces, and the policy that contains them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s

_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")
"""Address blocks of the clouds' metadata services."""

_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

_EVERYWHERE = ("0.0.0.0/0", "::/0")


Rule = dict[str, Any]


DOCKER_PORT = 2376


S3_PORT = 9000


DOCKER_METRICS_PORT = 9323


def ports(*numbers: int, protocol: str = "TCP") -> list[Rule]:
    """Return the ports of a rule."""
    return [{"port": number, "protocol": protocol} for number in numbers]


def namespace_peer(namespace: pulumi.Input[str]) -> Rule:
    """Return the peer that matches every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def dns(cidrs: Sequence[str]) -> Rule:
    """Return the egress rule to the cluster's DNS: its pods, and the DNS caches on the nodes."""
    peer = namespace_peer("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    caches = ({"ipBlock": {"cidr": cidr}} for cidr in cidrs)
    return {"to": [peer, *caches], "ports": [*ports(53, protocol="UDP"), *ports(53)]}


def _blocks(excluded: Sequence[str]) -> list[Rule]:
    """Return the peers for every IPv4 and IPv6 address except those in the excluded blocks."""
    blocks = []
    for cidr in _EVERYWHERE:
        exceptions = [other for other in excluded if (":" in other) == (":" in cidr)]
        blocks.append({"ipBlock": {"cidr": cidr, "except": exceptions}})
    return blocks


def internet(allowed: Sequence[str] = ()) -> Rule:
    """Return the egress rule to public addresses and to the allowed private ranges."""
    private = ({"ipBlock": {"cidr": cidr}} for cidr in allowed)
    return {"to": [*_blocks([*_PRIVATE, *_LINK_LOCAL]), *private]}


def anywhere(*numbers: int) -> Rule:
    """Return the egress rule to ports of every address except the metadata services."""
    return {"to": _blocks(_LINK_LOCAL), "ports": ports(*numbers)}


def service_port(address: str) -> tuple[str | None, int]:
    """Return the namespace (None outside the cluster) and the port of a URL or `host:port`."""
    url = urlsplit(address if "//" in address else f"//{address}")
    port = url.port or (80 if url.scheme == "http" else 443)
    host = (url.hostname or "").split(".")
    return (host[1] if len(host) > 2 and host[2] == "svc" else None), port


def to_service(address: str, pod_port: int | None = None) -> list[Rule]:
    """Return the egress rule to a Service of the cluster, or no rule for an outside address.

    A policy sees the port of the pods. Pass `pod_port` if it differs from the Service's port.
    """
    namespace, port = service_port(address)
    peer = namespace and namespace_peer(namespace)
    return [{"to": [peer], "ports": ports(pod_port or port)}] if peer else []


def namespace_rule(namespaces: Sequence[pulumi.Input[str]], port: int) -> list[Rule]:
    """Return the ingress rule for every pod of the namespaces, or no rule without namespaces."""
    peers = [namespace_peer(namespace) for namespace in namespaces]
    return [{"from": peers, "ports": ports(port)}] if peers else []


def policy(
    name: str,
    namespace: pulumi.Input[str],
    *,
    ingress: Any,
    egress: Any,
    pods: Mapping[str, str] | None = None,
    opts: pulumi.ResourceOptions,
) -> k8s.networking.v1.NetworkPolicy:
    """Declare a NetworkPolicy that denies all traffic, in and out, except what the rules allow.

    It applies to the pods with the labels `pods`, by default to every pod of the namespace.
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
