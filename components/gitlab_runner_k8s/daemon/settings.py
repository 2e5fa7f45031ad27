"""Settings of the shared daemons."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Any

import pulumi
from pydantic import Field

from .. import pins
from ..kubernetes.settings import ClusterDnsSettings, ResourcesSettings, over
from ..runner.connections import Replicas
from ..validation.base import Choice, Settings, matches
from ..validation.rules.basic import Count, Hours, Seconds, Whole
from ..validation.rules.images import (
    DockerImageReference,
    Image,
    ImageNamePattern,
    ImageReference,
)
from ..validation.rules.kubernetes import (
    AnyNamespace,
    Bytes,
    Labels,
    Namespace,
    ResourceName,
    Toleration,
    VolumeSize,
)
from ..validation.rules.network import (
    BridgeAddress,
    Cidr,
    HostPort,
    NoProxy,
    ProxyUrl,
    PublicCertificates,
    ServerUrl,
)
from .extra_config import BuildkitdToml, DaemonJson

_DAEMON = ResourcesSettings(
    cpu_request="1", cpu_limit="8", memory_request="2Gi", memory_limit="16Gi"
)


DAEMON_STOP_SECONDS = 20
"""Seconds that a daemon gets to stop after its drain. dockerd gives its containers 15."""


class ProxySettings(Settings):
    """A proxy through which a daemon reaches registries.

    A `RUN` step does not get it: pass the build arguments HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
    """

    http_proxy: ProxyUrl | None = None
    """URL of the proxy for `http://`, without credentials. A proxy with a private address must be
    in `egress_cidrs`."""
    https_proxy: ProxyUrl | None = None
    """URL of the proxy for `https://`, without credentials."""
    no_proxy: list[NoProxy] = []
    """Hosts, domains and address blocks that the daemon reaches without the proxy. The daemon
    itself and all Services of the cluster are always among them."""

    def variables(self, cluster_domain: str) -> dict[str, pulumi.Input[str]]:
        """Return the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY, those that are set."""
        own = ["localhost", "127.0.0.1", ".svc", f".{cluster_domain}"]
        values = {
            "HTTP_PROXY": self.http_proxy,
            "HTTPS_PROXY": self.https_proxy,
            "NO_PROXY": ",".join([*own, *self.no_proxy]),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _conflicts(self) -> Iterator[str]:
        if self.http_proxy is None and self.https_proxy is None:
            yield "http_proxy or https_proxy must be set; set one, or remove the proxy"


class DaemonSettings(Settings):
    """Settings of a daemon that builds for all jobs."""

    replicas: Replicas = 1
    """Number of daemons, each with a volume of its own. Several daemons share the load. They are no
    security boundary: all have the same client certificate, and any job can reach every daemon of
    its zone. To separate projects, use zones. All jobs of a project use the same daemon, which a
    consistent hash of CI_PROJECT_ID chooses. Raising the number moves a share of the projects to
    the new daemon, where they start cold; all other projects stay. Lowering it removes the daemon
    with the highest number, within `termination_grace_period_seconds`; its volume stays. Jobs that
    run on the removed daemon fail at their next command to it. Jobs that start before the runner
    knows the new number wait, and then take the first daemon. An update from 1 to more, or back to
    1, replaces the server's certificate and restarts the first daemon. Jobs choose their daemon in
    their own shell, which must be bash or sh. Services, and jobs with `run:`, know only the first
    daemon."""
    volume_size: VolumeSize = "100Gi"
    """Size of the volume in bytes, as a Kubernetes quantity. The volume holds the build cache and,
    with a Docker daemon, the images. You can raise the size, if the StorageClass allows that, but
    never lower it."""
    storage_class_name: ResourceName | None = None
    """StorageClass of the volume. It must provide block devices, not NFS. You cannot change it
    later. Default: the cluster's default StorageClass."""
    build_cache_percent: Annotated[Whole, Field(ge=10, le=90)] = 70
    """Percent of the volume that the build cache may use. Above it, the daemon removes the oldest
    build cache."""
    build_cache_keep_hours: Hours = 1440
    """Hours after which the daemon removes build cache that no build used, however much room there
    is. Default: 1440 (60 days)."""
    registry_mirrors: list[ServerUrl] = []
    """URLs of pull-through mirrors of Docker Hub."""
    insecure_registries: list[HostPort] = []
    """`host:port` of the registries without TLS."""
    registry_certificates: dict[HostPort, PublicCertificates] = {}
    """Certificates of private authorities by `host:port` of their registry, as PEM texts. Set them
    for registries with TLS whose authority is not a public one."""
    proxy: ProxySettings | None = None
    """Proxy through which the daemon reaches registries. Default: none."""
    resources: Annotated[ResourcesSettings, over(_DAEMON)] = _DAEMON
    """Resources of the daemon and of everything that it builds."""
    node_selector: Labels = {}
    """Labels of the nodes on which the daemon runs. Default: any node."""
    tolerations: list[Toleration] = []
    """Tolerations of the daemon's pod, as in Kubernetes. Default: taints with the key and value of
    each label of `node_selector`, so that the nodes' label can also be their taint."""
    enable_disruption_budget: bool = False
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod. With
    `false`, the drain evicts the daemon, after `termination_grace_period_seconds` at the latest."""
    certificate_validity_hours: Annotated[Hours, Field(ge=24, le=825 * 24)] = 2160
    """Hours for which the server's and the client's certificates are valid. The
    value must be less than `ca_validity_hours`. Default: 2160 (90 days)."""
    certificate_renewal_hours: Hours = 720
    """Hours before expiry from which an update renews the certificates. The value must be less than
    `certificate_validity_hours`. Default: 720 (30 days)."""
    ca_validity_hours: Hours = 87600
    """Hours for which the certificate authority is valid. Another value makes a new certificate of
    the same key: certificates that the authority signed before are still trusted. Default: 87600
    (10 years)."""
    termination_grace_period_seconds: Annotated[Seconds, Field(ge=30, le=24 * 3600)] = 600
    """Seconds that running builds have to end when the daemon restarts. The daemon stops as soon as
    no client is connected, and in any case 20 seconds before the end of this time."""

    def _conflicts(self) -> Iterator[str]:
        if self.certificate_renewal_hours >= self.certificate_validity_hours:
            yield (
                f"certificate_renewal_hours ({self.certificate_renewal_hours}) must be less than "
                f"certificate_validity_hours ({self.certificate_validity_hours}); lower it"
            )
        if self.certificate_validity_hours >= self.ca_validity_hours:
            yield "certificate_validity_hours must be less than ca_validity_hours; lower it"
        for host in self.registry_certificates:
            if host in self.insecure_registries:
                yield (
                    f"registry_certificates.{host} must not be set together with "
                    "insecure_registries, which turns TLS off for this registry; remove one of the "
                    "two"
                )


class DaemonLocationSettings(ClusterDnsSettings):
    """Where a daemon is, and who may reach it."""

    job_namespace: Namespace = "gitlab-runner-jobs"
    """Existing namespace of the jobs, which gets the Secret with the client certificate."""
    enable_network_policies: bool = True
    """Deny all traffic of the daemon except what it needs. The jobs, and `metrics_namespaces` of a
    Docker daemon, may reach the daemon. The daemon may reach DNS, the internet, `egress_cidrs` and
    its mirrors in the cluster."""
    egress_cidrs: list[Cidr] = []
    """Private address ranges that builds may reach, such as that of a registry."""


def _namespace_conflicts(namespace: Any, job_namespace: Any, why: str) -> Iterator[str]:
    if isinstance(namespace, str) and namespace == job_namespace:
        yield (
            f"namespace must differ from job_namespace, because {why}; use a separate namespace "
            "for the daemon"
        )


class DaemonIsolation(Choice):
    """What separates the shared Docker daemon from its node."""

    PRIVILEGED = "privileged"
    """Nothing separates them: the daemon is root in a privileged pod."""
    ROOTLESS = "rootless"
    """The daemon and its containers are in a user namespace: root inside, user 1000 outside. The
    pod is still privileged, because the namespaces inside need that."""


class AddressPoolSettings(Settings):
    """A range of addresses that a Docker daemon divides into networks."""

    base: Cidr
    """Range of the pool, in IPv4."""
    size: Annotated[Whole, Field(ge=1, le=29)]
    """Prefix length of each network. For example, 24 makes networks with 254 addresses."""

    def _conflicts(self) -> Iterator[str]:
        block = ipaddress.ip_network(self.base)
        if block.version != 4 or block.prefixlen > self.size:
            yield (
                f"base ({self.base}) must be an IPv4 range that is larger than a network of the "
                f"size {self.size}; choose another base or size"
            )


BASE_IMAGES = [
    *("almalinux", "alpine", "amazoncorretto", "amazonlinux", "archlinux", "buildpack-deps"),
    *("busybox", "caddy", "clojure", "composer", "dart", "debian", "docker", "eclipse-temurin"),
    *("elasticsearch", "elixir", "erlang", "fedora", "gcc", "golang", "gradle", "haproxy"),
    *("haskell", "httpd", "ibm-semeru-runtimes", "julia", "mariadb", "maven", "memcached"),
    *("mongo", "mysql", "nginx", "node", "openjdk", "oraclelinux", "perl", "php", "postgres"),
    *("pypy", "python", "r-base", "rabbitmq", "redis", "rockylinux", "ruby", "rust"),
    *("sapmachine", "swift", "tomcat", "traefik", "ubuntu", "valkey"),
]
"""Official images of Docker Hub that most builds and services start from."""


_API_VERSION = matches(
    r"1\.(2[4-9]|[34][0-9]|5[0-2])",
    "must be a version of Docker's API from 1.24 to 1.52, such as '1.32'",
)


class DockerSettings(DaemonSettings):
    """Settings of a shared Docker daemon."""

    image: DockerImageReference | None = None
    """Image of the daemon, with tag and digest, of Docker 29.3.1 or newer. Default: the pinned
    docker:dind image, or the pinned docker:dind-rootless image for the isolation `rootless`."""
    isolation: DaemonIsolation = DaemonIsolation.PRIVILEGED
    """What separates the daemon from its node. `rootless` needs nodes with unprivileged user
    namespaces, Linux 5.11 or newer, and amd64 or arm64. Its network is slower. Another value moves
    the daemon to a new, empty volume and leaves the old one."""
    mtu: Annotated[Whole, Field(ge=576, le=9216)] = 1450
    """MTU of the daemon's bridge in bytes. Set at most the MTU of the pods' network; otherwise
    builds hang in TLS handshakes. Default: 1450 (fits VXLAN)."""
    address_pools: list[AddressPoolSettings] = [AddressPoolSettings(base="198.18.0.0/16", size=24)]
    """Ranges of addresses for the daemon's own bridge and for the networks that jobs create. They
    must not contain an address that the daemon talks to: pods, nodes, GitLab or a registry.
    Default: 198.18.0.0/16 in 256 networks. RFC 2544 reserves this range for benchmarks, so
    hardly any network uses it."""
    bridge_address: BridgeAddress | None = None
    """The daemon's own address on its default bridge, with the prefix length of that network, such
    as "172.30.0.1/24". Default: the first network of `address_pools`."""
    minimum_api_version: Annotated[str, _API_VERSION] | None = None
    """Oldest version of Docker's API that clients may use, from 1.24. Old clients, such as those in
    Testcontainers, need a lower version than the default. Default: the daemon's own (1.44 in Docker
    29)."""
    container_log_size: Bytes = "10Mi"
    """Bytes after which the log of a container continues in a new file, as a Kubernetes
    quantity."""
    container_log_files: Count = 3
    """Number of files that the daemon keeps of the log of a container."""
    extra_daemon_config: DaemonJson | None = None
    """More of daemon.json, as JSON text: keys that have no setting here. Unknown keys, keys that
    have a setting, and secrets are refused. Another storage driver, image store or `userns-remap`
    starts with an empty store; the old one stays on the volume. Default: none."""
    node_selector: Labels = {}
    """Labels of nodes that only the daemon uses. Anyone who can run a job is root there. With the
    isolation `rootless` nobody is, but the daemon's pod is still privileged. Give these nodes a
    taint too, as a label keeps no other pod away. Required unless `accept_shared_nodes` is set."""
    accept_shared_nodes: bool = False
    """Accept that jobs can become root on nodes that others use too. With `false`, `node_selector`
    is required."""
    metrics_namespaces: list[AnyNamespace] = []
    """Namespaces, such as that of Prometheus, that may read the daemon's metrics on port 9323 at
    /metrics. Default: none; the daemon then serves no metrics."""
    enable_pruning: bool = True
    """Remove what jobs leave beside the build cache: containers, networks, volumes, names of
    images, and images. Pruning runs every ten minutes, and every minute above
    `prune_above_percent`. It needs Kubernetes 1.29 or newer."""
    enable_image_protection: bool = True
    """If a job builds, tags or imports an image with the name of a base image, take the name away
    within a second. Without this protection, every later build would start from that image in place
    of the registry's. Base images are `protected_images`, and the official images of Docker Hub
    that most builds start from, such as python and nginx. The setting has no effect without
    pruning."""
    protected_images: list[ImageNamePattern] = []
    """Names of more base images. `*` stands for any text. A name without a tag stands for all its
    tags. For example, "registry.example.com/base/*"."""
    prune_keep_hours: Hours = 72
    """Hours after which pruning removes an image that lost its name, counted from then. An image
    that never had a name is removed so many hours after its creation. Set more hours than a
    pipeline takes to reach its last job. Default: 72 (a pipeline of Friday can continue on
    Monday)."""
    prune_above_percent: Annotated[Whole, Field(ge=10, le=99)] = 80
    """Percent of the volume in use above which pruning removes every image that no container uses
    and that was created more than `maximum_job_timeout_seconds` ago. It also removes volumes
    without a container that were created more than `prune_keep_hours` ago. The value must be more
    than `build_cache_percent`. The default lies between the build cache's 70 and the 90 at which
    the daemon removes build cache to make room."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        if self.enable_pruning and self.prune_above_percent <= self.build_cache_percent:
            yield (
                f"prune_above_percent ({self.prune_above_percent}) must be more than "
                f"build_cache_percent ({self.build_cache_percent}), because otherwise a full "
                "build cache has every unused image removed; raise it, or lower build_cache_percent"
            )
        if not self.node_selector and not self.accept_shared_nodes:
            danger = (
                "the daemon's pod is privileged, although the daemon is not root"
                if self.is_rootless
                else "anyone who can run a job is root on the daemon's node"
            )
            yield (
                f"node_selector must select dedicated nodes, because {danger}; set it, or set "
                "accept_shared_nodes to true to accept this on shared nodes"
            )
        official = self.image is not None and Image(self.image)
        if official and official.repository == "library/docker":
            is_rootless = str(official.tag).endswith("-dind-rootless")
            if is_rootless != self.is_rootless:
                yield (
                    f"image ({official.tag}) must be made for the isolation '{self.isolation}'; "
                    f"remove it, or use {self.default_image}"
                )
        architecture = self.node_selector.get("kubernetes.io/arch", "amd64")
        if self.is_rootless and architecture not in {"amd64", "arm64"}:
            yield (
                f"node_selector.kubernetes.io/arch ({architecture}) must be amd64 or arm64 for the "
                "isolation 'rootless', because its image exists only for those; change it"
            )

    def pool_conflicts(self, reached: list[str], place: str, path: str = "") -> Iterator[str]:
        """Return the problems of the pools with addresses that the daemon must reach.

        Args:
            reached: Ranges with such addresses. A large range may contain the default pool, which
                hardly any network uses.
            place: Path of these ranges.
            path: Path of these settings, with a dot at its end.
        """
        if self.bridge_address:
            bridge = ipaddress.ip_interface(self.bridge_address).network
            for text in reached:
                if bridge.overlaps(ipaddress.ip_network(text)):
                    yield (
                        f"{path}bridge_address ({self.bridge_address}) must not be in {place} "
                        f"({text}), because the daemon would look for those addresses on its own "
                        "bridge; choose another network"
                    )
        is_given = "address_pools" in self.model_fields_set
        for number, pool in enumerate(self.address_pools):
            own = ipaddress.ip_network(pool.base)
            for text in reached:
                other = ipaddress.ip_network(text)
                if own.overlaps(other) and (is_given or own.prefixlen <= other.prefixlen):
                    yield (
                        f"{path}address_pools[{number}].base ({pool.base}) must not overlap "
                        f"{place} ({text}), because the daemon would look for those addresses in "
                        "its own networks; choose another range"
                    )

    @property
    def networks(self) -> int:
        """Number of networks for which the pools have addresses."""
        return sum(
            2 ** (pool.size - ipaddress.ip_network(pool.base).prefixlen)
            for pool in self.address_pools
        )

    @property
    def is_rootless(self) -> bool:
        """Whether the daemon runs without root."""
        return self.isolation == "rootless"

    @property
    def default_image(self) -> str:
        """The pinned image of the isolation."""
        return pins.DOCKER_ROOTLESS_IMAGE if self.is_rootless else pins.DOCKER_DAEMON_IMAGE


class SharedDockerDaemonSettings(DaemonLocationSettings, DockerSettings):
    """Arguments of `SharedDockerDaemon`."""

    namespace: Namespace = "gitlab-runner-docker"
    """Existing namespace that only the daemon uses. It needs the Pod Security level
    `privileged`."""
    maximum_job_timeout_seconds: Annotated[Seconds, Field(ge=600)] = 3600
    """Longest timeout of a job in seconds. Pruning removes containers, running or stopped, and
    networks that are older. After this time it also takes the names of images away, so that a build
    asks the registry again."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        yield from _namespace_conflicts(
            self.namespace,
            self.job_namespace,
            "the daemon's pod is privileged, and jobs could read its key",
        )
        yield from self.pool_conflicts(self.egress_cidrs, "egress_cidrs")


class BuildKitSettings(DaemonSettings):
    """Settings of a BuildKit daemon."""

    image: ImageReference = pins.BUILDKIT_IMAGE
    """Image of the rootless daemon, with tag and digest. Default: the pinned moby/buildkit
    image."""
    extra_daemon_config: BuildkitdToml | None = None
    """More of buildkitd.toml, as TOML text: keys that have no setting here. Unknown keys, keys that
    have a setting, and secrets are refused. Tables of a registry are merged with those of the
    package. Default: none."""


class BuildKitDaemonSettings(DaemonLocationSettings, BuildKitSettings):
    """Arguments of `BuildKitDaemon`."""

    namespace: Namespace = "gitlab-runner-buildkit"
    """Existing namespace that only the daemon uses. It needs the Pod Security level `privileged`:
    the daemon's pod is not privileged, but it has no seccomp profile and no AppArmor profile."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        yield from _namespace_conflicts(
            self.namespace, self.job_namespace, "jobs could read the daemon's key"
        )
