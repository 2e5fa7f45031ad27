"""Settings of the registry mirror."""

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from .. import pins
from ..kubernetes.settings import ClusterDnsSettings, ResourcesSettings, over
from ..validation.base import Settings
from ..validation.rules.basic import Hours, Password, Text
from ..validation.rules.images import ImageReference
from ..validation.rules.kubernetes import (
    AnyNamespace,
    Labels,
    Namespace,
    ResourceName,
    Toleration,
    VolumeSize,
)
from ..validation.rules.network import Cidr, ServerUrl

_MIRROR = ResourcesSettings(
    cpu_request="100m", cpu_limit="2", memory_request="128Mi", memory_limit="512Mi"
)


class MirrorSettings(Settings):
    """Settings of the registry mirror."""

    image: ImageReference = pins.REGISTRY_IMAGE
    """Image of the CNCF registry 3, with tag and digest. Default: the pinned
    docker.io/library/registry image."""
    remote_url: ServerUrl = "https://registry-1.docker.io"
    """URL of the registry to mirror. Docker daemons use a mirror only for Docker Hub, so set Docker
    Hub, or a registry that itself mirrors Docker Hub."""
    allow_insecure_remote: bool = False
    """Accept a `remote_url` without TLS. Images and credentials then cross the network
    unencrypted."""
    username: Text | None = None
    """Name of the account at the mirrored registry. Every job can pull whatever this account can
    pull, so give the account no private repositories. Default: anonymous."""
    password: Password | None = None
    """Password or access token of `username`, as a Pulumi secret. Default: anonymous."""
    credentials_secret_name: ResourceName | None = None
    """Existing Secret in the mirror's namespace with the keys `username` and `password`, in place
    of the settings `username` and `password`. Write each single quote in a value twice. The pod
    reads the Secret when it starts. Default: anonymous."""
    volume_size: VolumeSize = "50Gi"
    """Size of the volume in bytes, as a Kubernetes quantity. The registry has no size limit, only
    `ttl_hours`: plan for everything that is pulled in that time. You can raise the size, if the
    StorageClass allows that, but never lower it."""
    storage_class_name: ResourceName | None = None
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    ttl_hours: Hours = 168
    """Hours after which the mirror removes a layer or manifest. If a client asks for it again, the
    mirror pulls it again. A new value applies only to layers and manifests that are pulled from
    then on. Default: 168 (7 days)."""
    resources: Annotated[ResourcesSettings, over(_MIRROR)] = _MIRROR
    """Resources of the mirror."""
    node_selector: Labels = {}
    """Labels of the nodes on which the mirror runs. Default: any node."""
    tolerations: list[Toleration] = []
    """Tolerations of the mirror's pod, as in Kubernetes."""
    log_level: Literal["error", "warn", "info", "debug"] = "info"
    """Lowest severity that the mirror logs: error, warn, info or debug."""
    metrics_namespaces: list[AnyNamespace] = []
    """Namespaces that may read the mirror's Prometheus metrics on port 5001 at /metrics. Go's
    profiler is on the same port. Default: none; the mirror then serves no metrics."""

    def _conflicts(self) -> Iterator[str]:
        if (self.username is None) != (self.password is None):
            missing = "username" if self.username is None else "password"
            other = "password" if self.username is None else "username"
            yield (f"username and password must be set together; set {missing}, or remove {other}")
        if self.username is not None and self.credentials_secret_name is not None:
            yield (
                "credentials_secret_name must not be set together with username and password; "
                "remove it, or remove username and password"
            )
        if not isinstance(self.remote_url, str):
            return
        url = urlsplit(self.remote_url)
        if url.scheme == "http" and not self.allow_insecure_remote:
            yield (
                f"remote_url must be https, got '{self.remote_url}'; use https, or set "
                "allow_insecure_remote (images and credentials are then sent unencrypted)"
            )
        if url.path:
            yield (
                f"remote_url must be the root of a registry, got '{self.remote_url}'; "
                "remove its path"
            )


class RegistryMirrorSettings(MirrorSettings, ClusterDnsSettings):
    """Arguments of `RegistryMirror`."""

    namespace: Namespace = "gitlab-runner-mirror"
    """Existing namespace of the mirror. The Pod Security level `restricted` is enough. It must
    differ from `job_namespace`."""
    job_namespace: Namespace = "gitlab-runner-jobs"
    """Existing namespace of the jobs, which gets a ConfigMap with the settings of the Docker
    daemons that jobs start."""
    client_namespaces: list[AnyNamespace] = ["gitlab-runner-jobs", "gitlab-runner-docker"]
    """Namespaces whose pods may pull from the mirror, at least one."""
    excluded_nodes: list[Labels] = []
    """Labels of nodes that the pods avoid, such as those of shared Docker daemons, where anyone who
    can run a job is root. A pod whose volume is on such a node stays there. Default: none."""
    enable_network_policies: bool = True
    """Deny all traffic of the mirror except what it needs. `client_namespaces` and
    `metrics_namespaces` may reach the mirror. The mirror may reach DNS, the internet,
    `egress_cidrs` and `remote_url`."""
    egress_cidrs: list[Cidr] = []
    """Private address ranges that the mirror may reach, such as that of a registry."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        if not self.client_namespaces:
            yield (
                "client_namespaces must have at least one namespace, because an empty list would "
                "admit every pod of the cluster; add the namespace of the jobs or of the daemon"
            )
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "namespace must differ from job_namespace, because jobs could read the credentials "
                "of the remote registry there; use a separate namespace for the mirror"
            )
