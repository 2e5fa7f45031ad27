"""Pods that serve metrics, and the PodMonitors with which the Prometheus operator reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi

MINIO_METRICS_PATH = "/minio/v2/metrics/cluster"

Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Pods that serve metrics."""

    role: Literal["runner", "store", "docker"]
    name: str
    """Name of the PodMonitor after the platform's name. It is unique among the targets."""
    namespace: str
    pod_labels: Mapping[str, str]
    port: str
    """Name of the container's port."""
    path: str = "/metrics"
    bearer_secret: tuple[pulumi.Input[str], str] | None = None
    """Name of a Secret in the target's namespace, and its key with a bearer token."""
    tls_config: Mapping[str, Any] | None = None
    """The operator's settings for TLS (`ca`, `serverName`). None scrapes by plain HTTP."""
    replicas: int = 1
    """Expected number of pods."""

    def monitor_name(self, name: str) -> str:
        """Return the name of the target's PodMonitor."""
        return f"{name}-{self.name}"

    def job(self, name: str) -> str:
        """Return the label `job` that the operator sets on all metrics of the target."""
        return f"{self.namespace}/{self.monitor_name(name)}"


@dataclass(frozen=True)
class Workload:
    """A StatefulSet that Kubernetes' own metrics tell of, whether it serves metrics or not."""

    part: Literal["DockerDaemon", "BuildKitDaemon", "CacheStore", "RegistryMirror"]
    """Part of the platform, which is the beginning of the alerts' names."""
    namespace: str
    stateful_set: str
    container: str
    memory_bytes: int | None = None
    """Memory limit of the container. With None, it has no limit."""
    networks: int | None = None
    """Number of networks for which a Docker daemon has addresses."""
    certificate_expires: pulumi.Input[str] | None = None
    """Time at which the server's certificate ends, in RFC 3339. With None, it has none."""
    renewal_hours: int = 0
    """Hours before that time from which an update renews the certificate."""


def runner_target(namespace: str, release_name: str, name: str = "runner") -> Target:
    """Return the target of a runner. Its chart sets the label `release` on every pod."""
    return Target("runner", name, namespace, {"release": release_name}, "metrics")


def pod_monitor(target: Target, interval_seconds: int) -> Object:
    """Return the spec of a target's PodMonitor."""
    endpoint: Object = {
        "port": target.port,
        "path": target.path,
        "interval": f"{interval_seconds}s",
    }
    if target.bearer_secret:
        secret, key = target.bearer_secret
        endpoint["authorization"] = {"credentials": {"name": secret, "key": key}}
    if target.tls_config is not None:
        endpoint |= {"scheme": "https", "tlsConfig": dict(target.tls_config)}
    return {
        "selector": {"matchLabels": dict(target.pod_labels)},
        "podMetricsEndpoints": [endpoint],
    }
