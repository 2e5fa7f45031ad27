"""Settings of several components: the resources of a pod, and DNS of the cluster."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BeforeValidator

from ..validation.base import Reported, Settings
from ..validation.rules.kubernetes import Bytes, ClusterDomain, Cpu, quantity
from ..validation.rules.network import DnsCidr

_KINDS = ("cpu", "memory", "ephemeral_storage")


class NodeDnsSettings(Settings):
    """DNS caches of the cluster."""

    dns_cidrs: list[DnsCidr] = ["169.254.20.10/32"]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the cluster's
    own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With Cloud DNS for GKE,
    add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal DNSCache)."""


class ClusterDnsSettings(NodeDnsSettings):
    """DNS of the cluster."""

    cluster_domain: ClusterDomain = "cluster.local"
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities."""


class ResourcesSettings(Settings):
    """Compute resources of a container, as Kubernetes quantities."""

    cpu_request: Cpu | None = None
    """CPU cores that Kubernetes reserves for the container, as a Kubernetes quantity such as
    "500m". Default: none, unless the container has its own default."""
    cpu_limit: Cpu | None = None
    """CPU cores that the container cannot exceed, as a Kubernetes quantity such as "2". Default:
    none, unless the container has its own default."""
    memory_request: Bytes | None = None
    """Memory in bytes that Kubernetes reserves for the container, as a Kubernetes quantity such as
    "512Mi". Default: none, unless the container has its own default."""
    memory_limit: Bytes | None = None
    """Memory in bytes above which the container is killed, as a Kubernetes quantity such as "2Gi".
    Default: none, unless the container has its own default."""
    ephemeral_storage_request: Bytes | None = None
    """Local disk in bytes that Kubernetes reserves for the container, as a Kubernetes quantity such
    as "10Gi". Default: none, unless the container has its own default."""
    ephemeral_storage_limit: Bytes | None = None
    """Local disk in bytes above which Kubernetes evicts the pod, as a Kubernetes quantity such as
    "20Gi". Default: none, unless the container has its own default."""

    def _conflicts(self) -> Iterator[str]:
        for kind in _KINDS:
            request, limit = getattr(self, f"{kind}_request"), getattr(self, f"{kind}_limit")
            if request and limit and quantity(request) > quantity(limit):
                yield (
                    f"{kind}_request ({request}) must not exceed {kind}_limit ({limit}); lower it, "
                    f"or set a higher {kind}_limit"
                )

    def kubernetes(self) -> dict[str, dict[str, str]]:
        """Return the `resources` of a container."""
        table: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
        for kind in _KINDS:
            for part in ("request", "limit"):
                value = getattr(self, f"{kind}_{part}")
                if value:
                    table[f"{part}s"][kind.replace("_", "-")] = value
        return {key: value for key, value in table.items() if value}

    def executor(self, prefix: str = "") -> dict[str, str]:
        """Return the resources as keys of `[runners.kubernetes]`, each with the prefix."""
        return {f"{prefix}{key}": value for key, value in self.model_dump().items() if value}


def over(defaults: ResourcesSettings) -> BeforeValidator:
    """Let resources that set only some fields keep the defaults of the other fields."""

    def merge(resources: Any) -> Any:
        if not isinstance(resources, Mapping):
            return resources
        values = {key: value for key, value in resources.items() if value is not None}
        return Reported.of(resources, {**defaults.given(), **values})

    return BeforeValidator(merge)
