"""NetworkPolicy rules: pure functions from addresses to what may be reached."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s

_ANY = "0.0.0.0/0"
_PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
_LINK_LOCAL = "169.254.0.0/16"  # the clouds' metadata service

Rule = dict[str, Any]

DOCKER_PORT = 2376
S3_PORT = 9000
METRICS_PORT = 9252
DOCKER_METRICS_PORT = 9323
API_SERVER_PORTS = (443, 6443)


def ports(*numbers: int, protocol: str = "TCP") -> list[Rule]:
    """Return ports of a rule."""
    return [{"port": number, "protocol": protocol} for number in numbers]


def namespace_peer(namespace: pulumi.Input[str]) -> Rule:
    """Return the peer for every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def dns() -> Rule:
    """Return the egress rule to the cluster's DNS."""
    peer = namespace_peer("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    return {"to": [peer], "ports": [*ports(53, protocol="UDP"), *ports(53)]}


def internet(allowed: Sequence[str] = ()) -> Rule:
    """Return the egress rule to public addresses and the private ranges that were allowed."""
    public = {"cidr": _ANY, "except": [*_PRIVATE, _LINK_LOCAL]}
    return {"to": [{"ipBlock": public}, *({"ipBlock": {"cidr": cidr}} for cidr in allowed)]}


def _anywhere(*numbers: int) -> Rule:
    """Return the egress rule to some ports of every address but the metadata service."""
    block = {"cidr": _ANY, "except": [_LINK_LOCAL]}
    return {"to": [{"ipBlock": block}], "ports": ports(*numbers)}


def _service(address: str) -> tuple[str | None, int]:
    """Return the namespace (None outside of the cluster) and port of a URL or `host:port`."""
    url = urlsplit(address if "//" in address else f"//{address}")
    port = url.port or (80 if url.scheme == "http" else 443)
    host = (url.hostname or "").split(".")
    return (host[1] if len(host) > 2 and host[2] == "svc" else None), port


def to_service(address: str) -> list[Rule]:
    """Return the egress rule to a Service of the cluster; none for an address outside of it."""
    namespace, port = _service(address)
    return [{"to": [namespace_peer(namespace)], "ports": ports(port)}] if namespace else []


def namespace_rule(namespaces: Sequence[pulumi.Input[str]], port: int) -> list[Rule]:
    """Return the ingress rule for every pod of some namespaces; none where there are none."""
    peers = [namespace_peer(namespace) for namespace in namespaces]
    return [{"from": peers, "ports": ports(port)}] if peers else []


def manager_egress(addresses: Mapping[str, str | None]) -> list[Rule]:
    """Return what the runner itself may reach: DNS, the API server, GitLab and the store.

    NetworkPolicy knows no host names, so the API server and GitLab are given by port.
    """
    gitlab, store = addresses["gitlab"], addresses["store"]
    assert gitlab is not None
    outside = sorted({*API_SERVER_PORTS, _service(gitlab)[1]})
    return [dns(), _anywhere(*outside), *(to_service(store) if store else [])]


def job_egress(addresses: Mapping[str, str | None], allowed: Sequence[str]) -> list[Rule]:
    """Return what jobs may reach: DNS, the internet, and the platform's own services."""
    services = [to_service(address) for address in addresses.values() if address]
    return [dns(), internet(allowed), *(rule for rules in services for rule in rules)]


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
