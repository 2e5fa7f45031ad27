"""`RunnerPlatform`: runners, distributed cache, daemons, registry mirror and monitoring."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..arguments import RunnerPlatformArgs
from ..cache.engines import ENGINES
from ..cache.external import ExternalCache
from ..cache.minio import CERTIFICATE_HOURS, MinioCache
from ..cache.s3 import S3Cache
from ..daemon.buildkit import BuildKitDaemon
from ..daemon.docker import SharedDockerDaemon, kind_of
from ..kubernetes import network_policy as net
from ..kubernetes import workloads
from ..meta import type_token
from ..mirror.component import RegistryMirror
from ..mirror.config import job_daemon_json
from ..monitoring import component as monitoring
from ..monitoring.targets import MINIO_METRICS_PATH, Target, Workload, runner_target
from ..outputs import concat, lift
from ..runner.component import GitLabRunner
from ..runner.connections import (
    RunnerBuildKitSettings,
    RunnerCacheSettings,
    RunnerDockerSettings,
    RunnerMirrorSettings,
)
from ..runner.settings import GitLabRunnerSettings
from ..validation.messages import validate
from ..validation.rules.kubernetes import quantity
from . import names
from .plan import NamespacePlan, Plan, RunnerPlan, ZonePlan, plan
from .settings import DEFAULT_ZONE, RunnerPlatformSettings


class RunnerPlatform(pulumi.ComponentResource):
    """GitLab runners on Kubernetes that keep docker builds warm.

    The platform combines one or more runners with a distributed cache, shared daemons, a registry
    mirror and monitoring.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    runner_namespace: pulumi.Output[str]
    """Namespace of the runner itself."""
    job_namespace: pulumi.Output[str]
    """Namespace of the jobs' pods of the default zone."""
    release_name: pulumi.Output[str] | None
    """Name of the Helm release and of the runner's Deployment. Not set with `fleets`."""
    config_checksum: pulumi.Output[str] | None
    """SHA-256 of the rendered config.toml. Not set with `fleets`."""
    release_names: pulumi.Output[dict[str, str]] | None
    """Names of the Helm releases by fleet. Set only with `fleets`."""
    docker_hosts: pulumi.Output[dict[str, str]] | None
    """Addresses of the shared Docker daemons by zone. Set only with `zones`. If a zone has several
    daemons, the address is that of its first daemon."""
    cache_backend: pulumi.Output[str]
    """Backend of the distributed cache: `minio`, `s3`, `external` or `none`."""
    cache_endpoint: pulumi.Output[str] | None
    """`host:port` of the cache's store. Not set for AWS S3, GCS and Azure."""
    cache_bucket: pulumi.Output[str] | None
    """Bucket of the distributed cache."""
    cache_credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with the credentials of the cache."""
    docker_host: pulumi.Output[str] | None
    """Address of the default zone's Docker daemon. With several daemons, it is the address of the
    first daemon."""
    docker_client_secret_name: pulumi.Output[str] | None
    """Secret in the job namespace with the client certificate of the default zone's Docker
    daemon."""
    daemon_namespace: pulumi.Output[str] | None
    """Namespace of the default zone's Docker or BuildKit daemon."""
    buildkit_host: pulumi.Output[str] | None
    """Address of the default zone's BuildKit daemon. With several daemons, it is the address of the
    first daemon."""
    registry_mirror_url: pulumi.Output[str] | None
    """URL of the registry mirror."""

    def __init__(
        self, name: str, args: RunnerPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        settings = validate(
            RunnerPlatformSettings,
            args,
            f"RunnerPlatform '{name}'",
            also=names.platform_name_problems(name, args),
        )
        super().__init__(type_token("RunnerPlatform"), name, {}, opts)
        for output in RunnerPlatform.__annotations__:
            setattr(self, output, None)
        self._name, self._settings, self._plan = name, settings, plan(name, settings)
        self.runner_namespace = pulumi.Output.from_input(settings.namespaces.runner)
        self.job_namespace = pulumi.Output.from_input(settings.namespaces.jobs)
        self.cache_backend = pulumi.Output.from_input(settings.cache.backend.value)

        # Every other part is in a namespace. The runners take what the parts before them return.
        self._ready = [self._namespace(namespace) for namespace in self._plan.namespaces]
        for part, namespace in self._plan.denied_namespaces.items():
            net.policy(
                f"{name}-{part}-default-deny", namespace, ingress=[], egress=[], opts=self._child()
            )
        self._targets: list[Target] = []
        self._watched: list[Workload] = []
        self._identity: dict[str, dict[str, pulumi.Input[str]]] = {
            "service_account_annotations": {},
            "manager_pod_labels": {},
        }
        cache = self._cache()
        mirror = self._mirror()
        daemons = {name: self._daemon(name, zone) for name, zone in self._plan.zones.items()}
        hosts = {
            name: daemon["docker"].host for name, daemon in daemons.items() if "docker" in daemon
        }
        if settings.zones and hosts:
            self.docker_hosts = pulumi.Output.all(**hosts)
        self._runners = {
            fleet: self._runner(runner, daemons[runner.zone], cache, mirror)
            for fleet, runner in self._plan.runners.items()
        }
        self._export_runners()
        self._monitoring()
        self.register_outputs(self.outputs)

    @property
    def outputs(self) -> dict[str, pulumi.Output[Any]]:
        """Every output that has a value, by name, for a program to export (Python only)."""
        outputs = {name: getattr(self, name) for name in RunnerPlatform.__annotations__}
        return {name: value for name, value in outputs.items() if value is not None}

    @property
    def runners(self) -> Mapping[str, GitLabRunner]:
        """The runners by fleet. Without fleets, the name is empty (Python only)."""
        return self._runners

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=self._ready)

    def _namespace(self, planned: NamespacePlan) -> pulumi.Resource:
        settings = self._settings
        resource_name = f"{planned.prefix}-namespace"
        setting = "enableAdoption to true" if planned.has_volume else "enableCreation to false"
        is_adopted = planned.has_volume and settings.namespaces.enable_adoption
        return k8s.core.v1.Namespace(
            resource_name,
            metadata={
                "name": planned.namespace,
                "labels": workloads.namespace_labels(planned.level),
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                # Deleting a namespace deletes its volumes. None, not False, so that the options of
                # the platform itself still apply.
                retain_on_delete=(planned.has_volume and not settings.allow_volume_deletion)
                or None,
                import_=planned.namespace if is_adopted else None,
                hooks=workloads.refuse_existing_namespace(
                    resource_name, f"set namespaces.{setting} to use it"
                ),
            ),
        )

    def _cache(self) -> RunnerCacheSettings | None:
        """Declare the distributed cache, and return the runners' settings for it."""
        minio = self._minio() if self._plan.minio else None
        backend = self._settings.cache.backend
        if backend == "minio" and minio:
            return self._minio_cache(minio)
        if backend == "s3":
            return self._s3_cache()
        return self._external_cache() if backend == "external" else None

    def _minio(self) -> MinioCache:
        """Declare the in-cluster store, and the policies that let its clients reach it."""
        name, settings = f"{self._name}-cache", self._plan.minio
        assert settings is not None
        minio = MinioCache(name, settings.as_args(), opts=self._child())
        if settings.enable_metrics:
            self._targets.append(_store_target(name, minio, self._plan))
        self._watched.append(
            Workload(
                "CacheStore",
                str(settings.namespace),
                f"{name}-minio",
                "minio",
                _bytes(settings.resources.memory_limit),
                certificate_expires=minio.certificate_expires,
                renewal_hours=CERTIFICATE_HOURS[1],
            )
        )
        for client, (namespace, port) in self._plan.store_clients.items():
            net.policy(
                f"{name}-{client}",
                settings.namespace,
                ingress=net.namespace_rule([namespace], port),
                egress=[],
                pods=workloads.selector("minio", name),
                opts=self._child(),
            )
        if minio.ca_certificate is not None:
            for zone, planned in self._plan.other_zones.items():
                # Pods can mount only Secrets of their own namespace.
                k8s.core.v1.Secret(
                    f"{name}-ca-zone-{zone}",
                    metadata={"name": f"{name}-ca", "namespace": planned.job_namespace},
                    string_data={"ca.crt": minio.ca_certificate},
                    opts=self._child(),
                )
        return minio

    def _minio_cache(self, minio: MinioCache) -> RunnerCacheSettings:
        self.cache_endpoint = minio.endpoint
        self.cache_bucket = minio.bucket
        self.cache_credentials_secret_name = minio.credentials_secret_name
        return RunnerCacheSettings.model_construct(
            bucket=minio.bucket,
            server_address=minio.endpoint,
            insecure=minio.ca_secret_name is None,
            credentials_secret_name=minio.credentials_secret_name,
            credentials_checksum=minio.credentials_checksum,
            ca_secret_name=minio.ca_secret_name,
        )

    def _s3_cache(self) -> RunnerCacheSettings:
        settings = self._plan.s3
        assert settings is not None
        s3 = S3Cache(f"{self._name}-cache", settings.as_args(), opts=self._child())
        self.cache_bucket = s3.bucket
        self.cache_credentials_secret_name = s3.credentials_secret_name
        if settings.identity in {"irsa", "existing"} and s3.role_arn is not None:
            role = {"eks.amazonaws.com/role-arn": s3.role_arn}
            self._identity["service_account_annotations"] |= role
        return RunnerCacheSettings.model_construct(
            bucket=s3.bucket,
            region=s3.region,
            kms_key_arn=settings.kms_key_arn,
            credentials_secret_name=s3.credentials_secret_name,
            credentials_checksum=s3.credentials_checksum,
            role_arn=s3.object_role_arn if settings.enable_large_objects else None,
        )

    def _external_cache(self) -> RunnerCacheSettings:
        settings = self._plan.external
        assert settings is not None
        external = ExternalCache(f"{self._name}-cache", settings.as_args(), opts=self._child())
        self.cache_bucket = external.bucket
        self.cache_credentials_secret_name = external.credentials_secret_name
        if settings.s3 and settings.s3.server_address is not None:
            self.cache_endpoint = pulumi.Output.from_input(settings.s3.server_address)
        self._identity["service_account_annotations"] |= external.identity_annotations
        self._identity["manager_pod_labels"] |= external.identity_labels
        cache: Any = external.runner_cache
        return RunnerCacheSettings.model_construct(**cache)

    def _mirror(self) -> RunnerMirrorSettings | None:
        """Declare the registry mirror, and return the runners' settings for it."""
        name, settings = f"{self._name}-mirror", self._plan.mirror
        if settings is None:
            return None
        mirror = RegistryMirror(name, settings.as_args(), opts=self._child())
        self.registry_mirror_url = mirror.url
        memory = _bytes(settings.resources.memory_limit)
        self._watched.append(
            Workload("RegistryMirror", str(settings.namespace), name, "registry", memory)
        )
        for zone, planned in self._plan.other_zones.items():
            # Pods can mount only ConfigMaps of their own namespace.
            k8s.core.v1.ConfigMap(
                f"{self._name}-{zone}-mirror-daemon",
                metadata={"name": f"{name}-daemon", "namespace": planned.job_namespace},
                data={"daemon.json": lift(job_daemon_json, mirror.url)},
                opts=self._child(),
            )
        return RunnerMirrorSettings.model_construct(
            url=mirror.url, daemon_config_map_name=mirror.daemon_config_map_name
        )

    def _daemon(self, name: str, zone: ZonePlan) -> dict[str, Any]:
        """Declare a zone's daemon, and return the arguments of the zone's runners for it."""
        if zone.has_daemon and name == DEFAULT_ZONE:
            self.daemon_namespace = pulumi.Output.from_input(zone.daemon_namespace)
        if zone.buildkit:
            return {"buildkit": self._buildkit(name, zone)}
        return {"docker": self._docker(name, zone)} if zone.docker else {}

    def _buildkit(self, name: str, zone: ZonePlan) -> RunnerBuildKitSettings:
        assert zone.buildkit is not None
        component_name = f"{zone.prefix}-buildkit"
        daemon = BuildKitDaemon(component_name, zone.buildkit.as_args(), opts=self._child())
        self._watched.append(
            Workload(
                "BuildKitDaemon",
                zone.daemon_namespace,
                component_name,
                "buildkitd",
                _bytes(zone.buildkit.resources.memory_limit),
                certificate_expires=daemon.certificate_expires,
                renewal_hours=zone.buildkit.certificate_renewal_hours,
            )
        )
        if name == DEFAULT_ZONE:
            self.buildkit_host = daemon.buildkit_host
        return RunnerBuildKitSettings.model_construct(
            host=daemon.buildkit_host,
            client_secret_name=daemon.client_secret_name,
            replicas=zone.buildkit.replicas,
        )

    def _docker(self, name: str, zone: ZonePlan) -> RunnerDockerSettings:
        assert zone.docker is not None
        component_name = f"{zone.prefix}-docker"
        daemon = SharedDockerDaemon(component_name, zone.docker.as_args(), opts=self._child())
        self._watched.append(
            Workload(
                "DockerDaemon",
                zone.daemon_namespace,
                f"{component_name}{kind_of(zone.docker).pod_suffix}",
                "docker",
                _bytes(zone.docker.resources.memory_limit),
                # The networks of a rootless daemon are not the pod's, so no metric counts them.
                None if zone.docker.is_rootless else zone.docker.networks,
                daemon.certificate_expires,
                zone.docker.certificate_renewal_hours,
            )
        )
        if self._plan.metrics_namespaces:
            self._targets.append(
                Target(
                    "docker",
                    "docker" if name == DEFAULT_ZONE else f"docker-{name}",
                    zone.daemon_namespace,
                    workloads.selector("docker", component_name),
                    "metrics",
                    replicas=zone.docker.replicas,
                )
            )
        if name == DEFAULT_ZONE:
            self.docker_host = daemon.docker_host
            self.docker_client_secret_name = daemon.client_secret_name
        return RunnerDockerSettings.model_construct(
            host=daemon.docker_host,
            client_secret_name=daemon.client_secret_name,
            replicas=zone.docker.replicas,
        )

    def _runner(
        self,
        runner: RunnerPlan,
        daemon: Mapping[str, Any],
        cache: RunnerCacheSettings | None,
        mirror: RunnerMirrorSettings | None,
    ) -> GitLabRunner:
        zone = self._plan.zones[runner.zone]
        parts: dict[str, Any] = {**self._identity, **daemon}
        if cache:
            # Each zone has its own path, so its jobs cannot read or replace another zone's cache.
            path = concat(self._object_prefix(), zone.prefix)
            parts["cache"] = cache.model_copy(update={"path": path})
        if mirror and zone.has_privilege:
            parts["registry_mirror"] = mirror
        settings: GitLabRunnerSettings = runner.settings.model_copy(update=parts)
        return GitLabRunner(f"{runner.release_name}-runner", settings.as_args(), opts=self._child())

    def _object_prefix(self) -> pulumi.Input[str]:
        """Return the folder of the caches in the bucket."""
        s3 = self._plan.s3
        return lift(_folder, s3.prefix) if s3 and s3.prefix is not None else ""

    def _export_runners(self) -> None:
        runners = self._runners
        if not self._settings.fleets:
            self.release_name = runners[""].release_name
            self.config_checksum = runners[""].config_checksum
        else:
            self.release_names = pulumi.Output.all(
                **{fleet: runner.release_name for fleet, runner in runners.items()}
            )

    def _monitoring(self) -> None:
        settings = self._settings
        if settings.monitoring is None:
            return
        runners = [
            runner_target(settings.namespaces.runner, runner.release_name, fleet or "runner")
            for fleet, runner in self._plan.runners.items()
            if runner.settings.enable_metrics
        ]
        zones = self._plan.zones.values()
        volumes = [
            *([settings.namespaces.cache] if self._plan.minio else []),
            *([settings.namespaces.mirror] if self._plan.mirror else []),
            *(zone.daemon_namespace for zone in zones if zone.has_daemon),
        ]
        monitoring.declare(
            f"{self._name}-monitoring",
            settings.namespaces.runner,
            settings.monitoring,
            [*runners, *self._targets],
            volumes,
            self._watched,
            opts=self._child(),
        )


def _store_target(name: str, minio: MinioCache, plan: Plan) -> Target:
    """Return the store as a target of Prometheus."""
    assert plan.minio is not None
    namespace, labels = str(plan.minio.namespace), workloads.selector("minio", name)
    if not ENGINES[plan.minio.engine].has_metrics_token:
        return Target("store", "store", namespace, labels, "metrics")
    secret = minio.metrics_secret_name
    return Target(
        "store",
        "store",
        namespace,
        labels,
        "s3",
        MINIO_METRICS_PATH,
        (secret, "token") if secret is not None else None,
        # Prometheus scrapes the pod by its IP address, which is not in the certificate. The token
        # gives access only to metrics.
        {"insecureSkipVerify": True} if plan.minio.enable_tls else None,
    )


def _bytes(limit: str | None) -> int | None:
    return int(quantity(limit)) if limit else None


def _folder(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/"
