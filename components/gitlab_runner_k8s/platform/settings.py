"""Settings of the platform."""

from collections.abc import Iterator
from typing import Any

import pulumi

from ..cache.settings import (
    ExternalSettings,
    MinioSettings,
    S3Settings,
)
from ..daemon.settings import (
    BuildKitSettings,
    DockerSettings,
)
from ..kubernetes.settings import ClusterDnsSettings
from ..mirror.settings import MirrorSettings
from ..monitoring.settings import MonitoringSettings
from ..runner.connections import GitLabConnectionSettings
from ..runner.settings import (
    RunnerSettings,
    TokenSettings,
    replicas_conflicts,
    shared_daemon_conflicts,
)
from ..validation.base import Choice, Settings
from ..validation.rules.gitlab import GitLabUrl
from ..validation.rules.kubernetes import Name, OwnNamespace, ShortName
from ..validation.rules.network import Cidr

DEFAULT_ZONE = "default"


class CacheBackend(Choice):
    """Where the distributed cache is stored."""

    MINIO = "minio"
    """A store in the cluster, which the platform creates."""
    S3 = "s3"
    """A bucket on AWS, which the platform creates."""
    EXTERNAL = "external"
    """An existing store: S3-compatible, GCS or Azure."""
    NONE = "none"
    """No distributed cache."""


class CacheSettings(Settings):
    """Settings of the distributed cache."""

    backend: CacheBackend = CacheBackend.MINIO
    """Where the cache is stored. An update from `minio` to another backend removes the store at
    once: see `keep_minio`. An update from `s3` to another backend is refused where the bucket is
    protected."""
    keep_minio: bool = False
    """Keep the in-cluster store beside another backend. Set it in the update that changes the
    backend from `minio`, because running jobs still have the store's addresses. Remove the setting
    in a later update, once those jobs have ended. The store's volume stays, unless
    `allow_volume_deletion` is set."""
    minio: MinioSettings | None = None
    """Settings of the backend `minio`. Default: the defaults of that backend."""
    s3: S3Settings | None = None
    """Settings of the backend `s3`. Required for that backend."""
    external: ExternalSettings | None = None
    """The store of the backend `external`. Required for that backend."""

    def _conflicts(self) -> Iterator[str]:
        if self.keep_minio and self.backend == "minio":
            yield "keep_minio is only for backends other than 'minio'; remove it"
        used = {self.backend, *(["minio"] if self.keep_minio else [])}
        for block in ("minio", "s3", "external"):
            if getattr(self, block) is not None and block not in used:
                yield (
                    f"{block} is set, but backend is '{self.backend}'; remove {block}, "
                    f"or set backend to '{block}'"
                )
        if self.backend in {"s3", "external"} and getattr(self, self.backend) is None:
            yield f"{self.backend} must be set for the backend '{self.backend}'; set it"

    @property
    def has_minio(self) -> bool:
        """Whether the in-cluster store is declared."""
        return self.backend == "minio" or self.keep_minio


class NamespacesSettings(Settings):
    """The namespaces. Each has its own secrets and Pod Security level.

    A new name makes a new namespace. The update ends everything that runs in the old namespace, and
    its volume stays behind there.
    """

    runner: OwnNamespace = "gitlab-runner"
    """Namespace of the runner itself, with the Pod Security level `restricted`."""
    jobs: OwnNamespace = "gitlab-runner-jobs"
    """Namespace of the jobs' pods, with the Pod Security level `baseline`, or `privileged` if the
    jobs are privileged."""
    cache: OwnNamespace = "gitlab-runner-cache"
    """Namespace of the in-cluster store, with the Pod Security level `restricted`."""
    daemon: OwnNamespace = "gitlab-runner-docker"
    """Namespace of the shared daemon, with the Pod Security level `privileged`."""
    mirror: OwnNamespace = "gitlab-runner-mirror"
    """Namespace of the registry mirror, with the Pod Security level `restricted`."""
    enable_creation: bool = True
    """Create the namespaces. With `false`, you create the namespaces and their Pod Security labels
    yourself."""
    enable_adoption: bool = False
    """Take over the namespaces with volumes that `pulumi destroy` left, when you create a stack
    again. All of these namespaces must exist, so add a new component in a later update. With
    `false`, a preview refuses a namespace that already exists."""

    def _conflicts(self) -> Iterator[str]:
        names = [self.runner, self.jobs, self.cache, self.daemon, self.mirror]
        if len(set(names)) < len(names):
            yield (
                "the namespaces must differ, because each has its own Secrets and Pod Security "
                "level; rename one of those that are equal"
            )


class NetworkSettings(ClusterDnsSettings, GitLabConnectionSettings):
    """Settings of the network around the platform."""

    enable_policies: bool = True
    """Deny all traffic except what the platform needs. The engine `seaweedfs` of the in-cluster
    store requires `true`. The setting has no effect where the cluster's network does not enforce
    NetworkPolicy."""
    egress_cidrs: list[Cidr] = []
    """Private address ranges that jobs, builds and the registry mirror may reach, such as those of
    GitLab and of registries. A range that contains the nodes or the API server, such as 10.0.0.0/8
    in many clusters, lets jobs reach those too: list small ranges."""


class ZoneSettings(Settings):
    """A trust zone: projects that may see each other's builds.

    Each zone has its own job namespace, daemon, certificate authority, volume and part of the
    cache.
    """

    docker_daemon: DockerSettings | None = None
    """Shared Docker daemon of the zone. Default: none."""
    buildkit_daemon: BuildKitSettings | None = None
    """Rootless BuildKit daemon of the zone, in place of a Docker daemon. Default: none."""
    job_namespace: OwnNamespace | None = None
    """Namespace of the zone's jobs. Default: the platform's job namespace with a hyphen and the
    zone's name."""
    daemon_namespace: OwnNamespace | None = None
    """Namespace of the zone's daemon. Default: the platform's daemon namespace with a hyphen and
    the zone's name."""


class FleetSettings(TokenSettings):
    """A runner with its own Helm release and its own token."""

    zone: Name = DEFAULT_ZONE
    """Trust zone of the fleet's jobs. Default: default (the zone of the platform's own
    arguments)."""
    runner: RunnerSettings = RunnerSettings()
    """Settings in which the fleet differs from the platform's `runner`. Default: no differences."""

    def _conflicts(self) -> Iterator[str]:
        yield from self.token_problems()


class RunnerPlatformSettings(TokenSettings):
    """Arguments of `RunnerPlatform`."""

    gitlab_url: GitLabUrl
    """URL of GitLab, `https://…`."""
    runner: RunnerSettings = RunnerSettings()
    """Settings of the runner and its jobs. With `fleets`, these are the settings that all fleets
    share. Default: the defaults of these settings."""
    fleets: dict[ShortName, FleetSettings] = {}
    """Several runners by name, in place of a single runner and its token. Each fleet has its own
    token. Default: one runner."""
    zones: dict[ShortName, ZoneSettings] = {}
    """Trust zones by name, in addition to the default zone."""
    cache: CacheSettings = CacheSettings()
    """Distributed cache. Default: a store in the cluster."""
    docker_daemon: DockerSettings | None = None
    """Shared Docker daemon. Anyone who can run a job is root on the daemon's node, unless the
    daemon is rootless. Default: none."""
    buildkit_daemon: BuildKitSettings | None = None
    """Shared, rootless BuildKit daemon, in place of the Docker daemon. It is for jobs that build
    images and start no containers. Default: none."""
    registry_mirror: MirrorSettings | None = None
    """Mirror of Docker Hub, for the shared daemons and for the Docker daemons that privileged jobs
    start. Default: none."""
    monitoring: MonitoringSettings | None = None
    """Monitoring by the Prometheus operator and Grafana. Default: none."""
    namespaces: NamespacesSettings = NamespacesSettings()
    """Namespaces of the platform. Default: created, with their default names."""
    network: NetworkSettings = NetworkSettings()
    """Settings of the network around the platform. Default: the defaults of these settings."""
    allow_volume_deletion: bool = False
    """Let Pulumi delete the namespaces of the store, the mirror and the daemons, together with
    their volumes. Pulumi deletes them in `pulumi destroy`, or an update that renames or removes
    such a namespace. With `false`, these namespaces and volumes stay."""

    def zone_names(self) -> list[str]:
        """Return the names of the zones.

        The default zone is among them only if a runner or a daemon is in it.
        """
        is_used = not self.fleets or any(self.zone_daemons(DEFAULT_ZONE))
        is_used |= any(fleet.zone == DEFAULT_ZONE for fleet in self.fleets.values())
        return [*([DEFAULT_ZONE] if is_used else []), *self.zones]

    def zone_namespaces(self, name: str) -> tuple[str, str]:
        """Return the namespaces of a zone's jobs and of its daemon."""
        jobs, daemon = self.namespaces.jobs, self.namespaces.daemon
        if name == DEFAULT_ZONE:
            return jobs, daemon
        zone = self.zones[name]
        return zone.job_namespace or f"{jobs}-{name}", zone.daemon_namespace or f"{daemon}-{name}"

    def zone_daemons(self, name: str) -> tuple[DockerSettings | None, BuildKitSettings | None]:
        """Return a zone's Docker daemon and BuildKit daemon, each None if the zone has none."""
        zone = self if name == DEFAULT_ZONE else self.zones[name]
        return zone.docker_daemon, zone.buildkit_daemon

    def fleet_runner(self, fleet: FleetSettings) -> RunnerSettings:
        """Return the settings of a fleet's runner. They override those of the platform."""
        return RunnerSettings.model_construct(**self.runner.given() | fleet.runner.given())

    def _replicas(self, zone: str) -> int:
        return max((daemon.replicas for daemon in self.zone_daemons(zone) if daemon), default=0)

    def _conflicts(self) -> Iterator[str]:
        yield from self.network.url_conflicts(self.gitlab_url)
        store = self.cache.minio
        if store and store.engine == "seaweedfs" and not self.network.enable_policies:
            yield (
                "network.enable_policies must be true for the engine 'seaweedfs' of cache.minio, "
                "because the ports of its internal servers need no credentials; remove it, or "
                "choose another engine"
            )
        if not self.fleets:
            yield from self.token_problems()
            if self.docker_daemon:
                yield from shared_daemon_conflicts(self.runner, "runner.")
            yield from replicas_conflicts(self.runner, self._replicas(DEFAULT_ZONE), "runner.")
        for name in TokenSettings.model_fields:
            if self.fleets and getattr(self, name) is not None:
                yield f"{name} must not be set together with fleets; move it into a fleet"
        yield from self._zone_conflicts()
        for name, fleet in self.fleets.items():
            yield from self._fleet_conflicts(name, fleet)
        yield from self._token_conflicts()

    def _zone_conflicts(self) -> Iterator[str]:
        if DEFAULT_ZONE in self.zones:
            yield (
                f"zones.{DEFAULT_ZONE} must not be set, because docker_daemon and namespaces "
                "configure the default zone; set those, or rename the zone"
            )
            return
        owners: dict[str, str] = {
            self.namespaces.runner: "namespaces.runner",
            self.namespaces.cache: "namespaces.cache",
            self.namespaces.mirror: "namespaces.mirror",
        }
        for name in [DEFAULT_ZONE, *self.zones]:
            is_default = name == DEFAULT_ZONE
            if docker := self.zone_daemons(name)[0]:
                yield from docker.pool_conflicts(
                    self.network.egress_cidrs,
                    "network.egress_cidrs",
                    f"{'' if is_default else f'zones.{name}.'}docker_daemon.",
                )
            if all(self.zone_daemons(name)):
                yield (
                    f"{'' if is_default else f'zones.{name}.'}buildkit_daemon must not be set "
                    "together with docker_daemon, because a zone has one daemon; remove one of "
                    "the two"
                )
            names = ("jobs", "daemon") if is_default else ("job_namespace", "daemon_namespace")
            for field, namespace in zip(names, self.zone_namespaces(name), strict=True):
                path = f"namespaces.{field}" if is_default else f"zones.{name}.{field}"
                if namespace in owners and not is_default:
                    yield (
                        f"{path} must differ from {owners[namespace]} ('{namespace}'), because "
                        "each zone has separate namespaces; rename it"
                    )
                owners.setdefault(namespace, path)

    def _fleet_conflicts(self, name: str, fleet: FleetSettings) -> Iterator[str]:
        path = f"fleets.{name}"
        targets = {"store", "docker", *(f"docker-{zone}" for zone in self.zones)}
        if self.monitoring and name in targets:
            yield f"{path}: must not have the name of another part in the metrics; rename the fleet"
        if fleet.zone != DEFAULT_ZONE and fleet.zone not in self.zones:
            names = ", ".join([DEFAULT_ZONE, *self.zones])
            yield f"{path}.zone: there is no zone '{fleet.zone}'; known zones: {names}"
            return
        runner = self.fleet_runner(fleet)
        if conflicts := runner.conflicts():
            yield from (
                f"{path}.runner, merged with the platform's runner: {conflict}"
                for conflict in conflicts
            )
            return
        docker, _ = self.zone_daemons(fleet.zone)
        if docker:
            yield from shared_daemon_conflicts(runner, f"{path}.runner.")
        yield from replicas_conflicts(runner, self._replicas(fleet.zone), f"{path}.runner.")

    def _token_conflicts(self) -> Iterator[str]:
        owners: list[tuple[Any, str]] = []
        for name, fleet in self.fleets.items():
            for field in TokenSettings.model_fields:
                token, path = getattr(fleet, field), f"fleets.{name}.{field}"
                if token is None or isinstance(token, pulumi.Output):
                    continue
                owner = next((place for other, place in owners if other == token), None)
                if owner:
                    yield (
                        f"{path} must differ from {owner}, because each fleet could get the "
                        "other's jobs; create a runner in GitLab for each fleet"
                    )
                owners.append((token, path))
