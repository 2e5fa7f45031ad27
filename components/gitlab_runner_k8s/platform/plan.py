"""Derive the settings of each part from the platform's settings.

This module is pure: it declares nothing. `RunnerPlatform` adds the values that only a declared part
has, such as the name of a Secret that is ready.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from ..cache.engines import ENGINES
from ..cache.settings import (
    ExternalCacheSettings,
    MinioCacheSettings,
    MinioSettings,
    S3CacheSettings,
)
from ..daemon.settings import (
    BuildKitDaemonSettings,
    BuildKitSettings,
    DockerSettings,
    SharedDockerDaemonSettings,
)
from ..kubernetes import nodes
from ..kubernetes.network_policy import S3_PORT
from ..kubernetes.workloads import PodSecurity
from ..mirror import config as mirror_config
from ..mirror.settings import RegistryMirrorSettings
from ..runner.connections import GitLabConnectionSettings
from ..runner.extra_config import privileges
from ..runner.settings import GitLabRunnerSettings, RunnerSettings, TokenSettings
from ..validation.rules.kubernetes import Labels
from .names import release_name, zone_prefix
from .settings import DEFAULT_ZONE, FleetSettings, RunnerPlatformSettings


@dataclass(frozen=True)
class NamespacePlan:
    """A namespace to create."""

    prefix: str
    """Prefix of the name of its resource."""
    namespace: str
    level: PodSecurity
    has_volume: bool = False


@dataclass(frozen=True)
class ZonePlan:
    """A trust zone."""

    prefix: str
    """Prefix of the names of its resources."""
    job_namespace: str
    daemon_namespace: str
    has_privilege: bool
    """Whether any container of the zone's jobs is privileged."""
    docker: SharedDockerDaemonSettings | None
    buildkit: BuildKitDaemonSettings | None

    @property
    def has_daemon(self) -> bool:
        """Whether the zone has a Docker or BuildKit daemon."""
        return bool(self.docker or self.buildkit)


@dataclass(frozen=True)
class RunnerPlan:
    """A runner, to which `RunnerPlatform` adds its cache, daemon, mirror and identity."""

    release_name: str
    zone: str
    settings: GitLabRunnerSettings


@dataclass(frozen=True)
class Plan:
    """Every part of a platform."""

    namespaces: tuple[NamespacePlan, ...]
    denied_namespaces: Mapping[str, str]
    """Namespaces, by part, that get a policy that denies all traffic. Their other policies are for
    single pods."""
    zones: Mapping[str, ZonePlan]
    runners: Mapping[str, RunnerPlan]
    """The runners by fleet. Without fleets, the name is empty."""
    minio: MinioCacheSettings | None
    s3: S3CacheSettings | None
    external: ExternalCacheSettings | None
    mirror: RegistryMirrorSettings | None
    metrics_namespaces: tuple[pulumi.Input[str], ...]
    """Namespaces that may read metrics."""
    store_clients: Mapping[str, tuple[pulumi.Input[str], int]]
    """Clients of the in-cluster store, beside the runner and the jobs of the first zone: namespace
    and port, by the suffix of the policy's name."""

    @property
    def other_zones(self) -> dict[str, ZonePlan]:
        """The zones except the first, whose objects the store and the mirror declare themselves."""
        _, *others = self.zones
        return {zone: self.zones[zone] for zone in others}


def plan(name: str, settings: RunnerPlatformSettings) -> Plan:
    """Return the plan of a platform.

    Args:
        name: The platform's name.
        settings: The platform's settings, which are valid.
    """
    readers = _metrics_namespaces(settings)
    mirror = _mirror(settings)
    mirrors = [mirror_config.url(f"{name}-mirror", mirror)] if mirror else []
    zones = {zone: _zone(name, zone, settings, readers, mirrors) for zone in settings.zone_names()}
    return Plan(
        namespaces=tuple(_namespaces(name, settings, zones)),
        denied_namespaces=_denied_namespaces(settings),
        zones=zones,
        runners=_runners(name, settings, zones, readers),
        minio=_minio(settings),
        s3=_s3(name, settings),
        external=_external(name, settings),
        mirror=mirror,
        metrics_namespaces=readers,
        store_clients=_store_clients(settings, zones, readers),
    )


def _metrics_namespaces(settings: RunnerPlatformSettings) -> tuple[pulumi.Input[str], ...]:
    monitoring = settings.monitoring
    return (
        (monitoring.prometheus_namespace,) if monitoring and monitoring.enable_pod_monitor else ()
    )


def _network(settings: RunnerPlatformSettings) -> dict[str, Any]:
    """Return the network arguments that every component with egress shares."""
    network = settings.network
    return {
        "enable_network_policies": network.enable_policies,
        "egress_cidrs": network.egress_cidrs,
        "dns_cidrs": network.dns_cidrs,
    }


def _first_job_namespace(settings: RunnerPlatformSettings) -> str:
    return settings.zone_namespaces(settings.zone_names()[0])[0]


def _zone_runners(settings: RunnerPlatformSettings, zone: str) -> list[RunnerSettings]:
    if not settings.fleets:
        return [settings.runner]
    return [
        settings.fleet_runner(fleet) for fleet in settings.fleets.values() if fleet.zone == zone
    ]


def _has_privilege(settings: RunnerPlatformSettings, zone: str) -> bool:
    return any(
        runner.enable_privileged_jobs
        or runner.enable_privileged_services
        or privileges(runner.extra_config)
        for runner in _zone_runners(settings, zone)
    )


def _zone(
    name: str,
    zone: str,
    settings: RunnerPlatformSettings,
    readers: tuple[pulumi.Input[str], ...],
    mirrors: list[pulumi.Input[str]],
) -> ZonePlan:
    docker, buildkit = settings.zone_daemons(zone)
    job_namespace, daemon_namespace = settings.zone_namespaces(zone)
    location = {
        "namespace": daemon_namespace,
        "job_namespace": job_namespace,
        "cluster_domain": settings.network.cluster_domain,
        **_network(settings),
    }
    timeouts = [runner.maximum_job_timeout_seconds for runner in _zone_runners(settings, zone)]
    more = {
        **({"maximum_job_timeout_seconds": max(timeouts)} if timeouts else {}),
        **({"metrics_namespaces": list(readers)} if readers else {}),
    }

    def options(daemon: DockerSettings | BuildKitSettings) -> dict[str, Any]:
        urls = {"registry_mirrors": [*daemon.registry_mirrors, *mirrors]} if mirrors else {}
        return {**daemon.given(), **urls, **location}

    return ZonePlan(
        prefix=zone_prefix(name, zone),
        job_namespace=job_namespace,
        daemon_namespace=daemon_namespace,
        has_privilege=_has_privilege(settings, zone),
        docker=(
            SharedDockerDaemonSettings.model_construct(**options(docker) | more) if docker else None
        ),
        buildkit=BuildKitDaemonSettings.model_construct(**options(buildkit)) if buildkit else None,
    )


def _namespaces(
    name: str, settings: RunnerPlatformSettings, zones: Mapping[str, ZonePlan]
) -> Iterator[NamespacePlan]:
    namespaces = settings.namespaces
    if not namespaces.enable_creation:
        return
    yield NamespacePlan(f"{name}-runner", namespaces.runner, "restricted")
    if settings.cache.has_minio:
        yield NamespacePlan(f"{name}-cache", namespaces.cache, "restricted", has_volume=True)
    if settings.registry_mirror:
        yield NamespacePlan(f"{name}-mirror", namespaces.mirror, "restricted", has_volume=True)
    for zone in zones.values():
        level: PodSecurity = "privileged" if zone.has_privilege else "baseline"
        yield NamespacePlan(f"{zone.prefix}-jobs", zone.job_namespace, level)
        if zone.has_daemon:
            # The resource has the same name for both kinds of daemon. With another name, Pulumi
            # would replace the namespace.
            yield NamespacePlan(
                f"{zone.prefix}-docker", zone.daemon_namespace, "privileged", has_volume=True
            )


def _denied_namespaces(settings: RunnerPlatformSettings) -> dict[str, str]:
    if not settings.network.enable_policies:
        return {}
    return {
        **({"cache": settings.namespaces.cache} if settings.cache.has_minio else {}),
        **({"mirror": settings.namespaces.mirror} if settings.registry_mirror else {}),
    }


def _daemon_nodes(settings: RunnerPlatformSettings) -> dict[str, Labels]:
    """Return the labels of the nodes on which a zone's jobs can be root, by zone."""
    dockers = {zone: settings.zone_daemons(zone)[0] for zone in settings.zone_names()}
    return {
        zone: docker.node_selector
        for zone, docker in dockers.items()
        if docker and docker.node_selector and not docker.accept_shared_nodes
    }


def _runners(
    name: str,
    settings: RunnerPlatformSettings,
    zones: Mapping[str, ZonePlan],
    readers: tuple[pulumi.Input[str], ...],
) -> dict[str, RunnerPlan]:
    network = settings.network
    common = {
        "gitlab_url": settings.gitlab_url,
        "namespace": settings.namespaces.runner,
        "metrics_namespaces": list(readers),
        **{name: getattr(network, name) for name in GitLabConnectionSettings.model_fields},
        **_network(settings),
    }

    daemons = _daemon_nodes(settings)

    def runner(
        fleet: str,
        zone: str,
        options: RunnerSettings,
        owner: RunnerPlatformSettings | FleetSettings,
    ) -> RunnerPlan:
        tokens = {token: getattr(owner, token) for token in TokenSettings.model_fields}
        release = release_name(name, fleet)
        others = [labels for owner, labels in daemons.items() if owner != zone]
        return RunnerPlan(
            release,
            zone,
            GitLabRunnerSettings.model_construct(
                **options.given(),
                **common,
                **tokens,
                job_namespace=zones[zone].job_namespace,
                release_name=release,
                manager_excluded_nodes=nodes.excluded(
                    list(daemons.values()), options.manager_node_selector
                ),
                job_excluded_nodes=nodes.excluded(others, options.job_node_selector),
            ),
        )

    if not settings.fleets:
        return {"": runner("", DEFAULT_ZONE, settings.runner, settings)}
    return {
        fleet_name: runner(fleet_name, fleet.zone, settings.fleet_runner(fleet), fleet)
        for fleet_name, fleet in settings.fleets.items()
    }


def _minio(settings: RunnerPlatformSettings) -> MinioCacheSettings | None:
    if not settings.cache.has_minio:
        return None
    options = settings.cache.minio or MinioSettings()
    return MinioCacheSettings.model_construct(
        **options.given(),
        namespace=settings.namespaces.cache,
        runner_namespace=settings.namespaces.runner,
        job_namespace=_first_job_namespace(settings),
        cluster_domain=settings.network.cluster_domain,
        enable_network_policies=settings.network.enable_policies,
        dns_cidrs=settings.network.dns_cidrs,
        excluded_nodes=nodes.excluded(
            list(_daemon_nodes(settings).values()), options.node_selector
        ),
    )


def _store_clients(
    settings: RunnerPlatformSettings,
    zones: Mapping[str, ZonePlan],
    readers: tuple[pulumi.Input[str], ...],
) -> dict[str, tuple[pulumi.Input[str], int]]:
    if not (settings.cache.has_minio and settings.network.enable_policies):
        return {}
    _, *others = zones.items()
    clients: dict[str, tuple[pulumi.Input[str], int]] = {
        f"zone-{name}": (zone.job_namespace, S3_PORT) for name, zone in others
    }
    store = settings.cache.minio or MinioSettings()
    if store.enable_metrics and readers:
        clients["metrics"] = (readers[0], ENGINES[store.engine].metrics_port)
    return clients


def _s3(name: str, settings: RunnerPlatformSettings) -> S3CacheSettings | None:
    options = settings.cache.s3
    if options is None or settings.cache.backend != "s3":
        return None
    return S3CacheSettings.model_construct(
        **options.given(),
        runner_namespace=settings.namespaces.runner,
        service_account_names=[release_name(name, fleet) for fleet in settings.fleets or [""]],
    )


def _external(name: str, settings: RunnerPlatformSettings) -> ExternalCacheSettings | None:
    options = settings.cache.external
    if options is None or settings.cache.backend != "external":
        return None
    return ExternalCacheSettings.model_construct(
        **options.given(), runner_namespace=settings.namespaces.runner, path=name
    )


def _mirror(settings: RunnerPlatformSettings) -> RegistryMirrorSettings | None:
    if settings.registry_mirror is None:
        return None
    zones = settings.zone_names()
    clients: list[pulumi.Input[str]] = [settings.zone_namespaces(zone)[0] for zone in zones]
    clients += [
        settings.zone_namespaces(zone)[1] for zone in zones if any(settings.zone_daemons(zone))
    ]
    return RegistryMirrorSettings.model_construct(
        **settings.registry_mirror.given(),
        namespace=settings.namespaces.mirror,
        job_namespace=_first_job_namespace(settings),
        client_namespaces=clients,
        excluded_nodes=nodes.excluded(
            list(_daemon_nodes(settings).values()), settings.registry_mirror.node_selector
        ),
        cluster_domain=settings.network.cluster_domain,
        **_network(settings),
    )
