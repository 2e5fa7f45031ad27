"""Everything together: namespaces, runner, distributed cache and shared daemon."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from . import _kubernetes as kube
from . import _monitoring as monitoring
from . import _network as net
from ._extra_config import privileges
from ._inputs import concat, lift
from ._meta import token
from ._monitoring import MonitoringArgs
from ._specs import (
    DEFAULT_ZONE,
    FleetSettings,
    MinioOptions,
    RunnerPlatformSpec,
)
from ._store_engines import ENGINES
from ._validation import STATEFUL_SET_NAME, keys_of, name_problems, validate
from .buildkit_daemon import BuildKitDaemon, BuildKitDaemonArgs, BuildKitOptionsArgs
from .external_cache import ExternalCache, ExternalCacheOptionsArgs
from .gitlab_runner import (
    ExternalSecretArgs,
    GitLabRunner,
    GitLabRunnerArgs,
    RunnerCacheArgs,
    RunnerOptionsArgs,
)
from .minio_cache import MAXIMUM_NAME, MinioCache, MinioCacheArgs, MinioOptionsArgs
from .registry_mirror import (
    RegistryMirror,
    RegistryMirrorArgs,
    RegistryMirrorOptionsArgs,
    daemon_json,
)
from .s3_cache import S3Cache, S3OptionsArgs
from .shared_docker_daemon import DockerOptionsArgs, SharedDockerDaemon, SharedDockerDaemonArgs


class CacheBackend(str, Enum):
    """Where the distributed cache is kept."""

    MINIO = "minio"
    """A store in the cluster, made by the platform."""
    S3 = "s3"
    """A bucket on AWS, made by the platform."""
    EXTERNAL = "external"
    """A store that is there already: S3-compatible, GCS or Azure."""
    NONE = "none"
    """No distributed cache."""


class CacheSettingsArgs(TypedDict):
    """The distributed cache."""

    backend: NotRequired[CacheBackend]
    """Where the cache is kept. An update that leaves the backend `minio` removes the store
    at once, see `keep_minio`; one that leaves `s3` is refused where the bucket is protected.
    Default: minio."""
    keep_minio: NotRequired[bool]
    """Keep the in-cluster store beside another backend, in the update that leaves the backend
    `minio`: jobs that still run were given its addresses. Remove it in a later update, once they
    have ended; the volume stays all the same. Default: removed."""
    minio: NotRequired[MinioOptionsArgs]
    """Options of the backend `minio`. Default: its defaults."""
    s3: NotRequired[S3OptionsArgs]
    """Options of the backend `s3`, which requires them."""
    external: NotRequired[ExternalCacheOptionsArgs]
    """The store of the backend `external`, which requires it."""


class ZoneArgs(TypedDict):
    """A trust zone: projects that may see each other's builds.

    It has a job namespace, a daemon, a certificate authority, a volume and a part of the cache of
    its own.
    """

    docker_daemon: NotRequired[DockerOptionsArgs]
    """The zone's shared docker daemon. Default: none."""
    buildkit_daemon: NotRequired[BuildKitOptionsArgs]
    """The zone's rootless buildkitd, in place of a docker daemon. Default: none."""
    job_namespace: NotRequired[str]
    """Namespace of the zone's jobs. Default: that of the platform's jobs and the zone's name."""
    docker_namespace: NotRequired[str]
    """Namespace of the zone's daemon. Default: that of the platform's daemon and the zone's
    name."""


class FleetArgs(TypedDict):
    """A runner of its own: a Helm release, with a token of its own."""

    runner_token: NotRequired[pulumi.Input[str]]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. One of this,
    `token_secret_name` and `token_external_secret` is required."""
    token_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret with the keys `runner-token` and `runner-registration-token` (empty)."""
    token_external_secret: NotRequired[ExternalSecretArgs]
    """A token that the External Secrets Operator fetches."""
    zone: NotRequired[str]
    """Trust zone of its jobs. Default: default, that of the platform's own arguments."""
    runner: NotRequired[RunnerOptionsArgs]
    """What differs from the platform's `runner`. Default: nothing."""


class NamespacesArgs(TypedDict):
    """The namespaces. Each has its own secrets and Pod Security level.

    A new name is a new namespace: what runs in the one before is ended, and its volume stays
    behind there.
    """

    runner: NotRequired[str]
    """Of the runner itself (restricted). Default: gitlab-runner."""
    jobs: NotRequired[str]
    """Of the jobs' pods (baseline, or privileged where the jobs are). Default:
    gitlab-runner-jobs."""
    cache: NotRequired[str]
    """Of the in-cluster store (restricted). Default: gitlab-runner-cache."""
    docker: NotRequired[str]
    """Of the shared daemon (privileged). Default: gitlab-runner-docker."""
    mirror: NotRequired[str]
    """Of the registry mirror (restricted). Default: gitlab-runner-mirror."""
    enable_creation: NotRequired[bool]
    """Make the namespaces. Default: made. Otherwise they, and their Pod Security labels, are
    yours."""
    enable_adoption: NotRequired[bool]
    """Take over the namespaces of the volumes, which `pulumi destroy` leaves, in a stack that is
    made again: all of them have to be there, so add a new part in a later update.
    Default: false, and a preview refuses a namespace that exists already."""


class NetworkArgs(TypedDict):
    """The network around the platform."""

    enable_policies: NotRequired[bool]
    """Deny all traffic but what is needed. Default: denied. Has no effect where the cluster's
    network does not enforce NetworkPolicy."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs and builds may reach: those of GitLab and of registries.
    Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Where NodeLocal DNSCache answers on the cluster's
    own DNS address, as on GKE, add that: "10.96.0.10/32"; with Cloud DNS for GKE
    "169.254.169.254/32". Default: NodeLocal DNSCache's usual 169.254.20.10/32."""
    api_server_ports: NotRequired[list[int]]
    """TCP ports on which the Kubernetes API server answers. Default: 443 and 6443."""
    gitlab_port: NotRequired[int]
    """TCP port of GitLab's own pods, where GitLab is in this cluster and its Service's port is
    another: policies see the pods'. Default: the port of `gitlab_url`."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another one renews the servers' certificates, by the same
    authorities. Default: cluster.local."""
    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an http:// address of GitLab. Default: refused."""


class RunnerPlatformArgs(TypedDict):
    """Arguments of `RunnerPlatform`."""

    gitlab_url: pulumi.Input[str]
    """Address of GitLab, `https://…`."""
    runner_token: NotRequired[pulumi.Input[str]]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. One of this,
    `token_secret_name`, `token_external_secret` and `fleets` is required."""
    token_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret with the keys `runner-token` and `runner-registration-token` (empty)."""
    token_external_secret: NotRequired[ExternalSecretArgs]
    """A token that the External Secrets Operator fetches."""
    runner: NotRequired[RunnerOptionsArgs]
    """The runner and its jobs; with `fleets`, what they have in common. Default: its defaults."""
    fleets: NotRequired[dict[str, FleetArgs]]
    """Several runners by name, in place of the one above. Default: one runner."""
    zones: NotRequired[dict[str, ZoneArgs]]
    """Trust zones by name, beside the default one. Default: none."""
    cache: NotRequired[CacheSettingsArgs]
    """The distributed cache. Default: a store in the cluster."""
    docker_daemon: NotRequired[DockerOptionsArgs]
    """The shared docker daemon. Default: none. Whoever may run a job is root on its node."""
    buildkit_daemon: NotRequired[BuildKitOptionsArgs]
    """A shared, rootless buildkitd, in place of the docker daemon: for jobs that build images and
    start no containers. Default: none."""
    registry_mirror: NotRequired[RegistryMirrorOptionsArgs]
    """A mirror of Docker Hub for the shared daemons and for those that privileged jobs start.
    Default: none."""
    monitoring: NotRequired[MonitoringArgs]
    """Monitoring by the Prometheus operator and Grafana. Default: none."""
    namespaces: NotRequired[NamespacesArgs]
    """The namespaces. Default: made, with their default names."""
    network: NotRequired[NetworkArgs]
    """The network around the platform. Default: its defaults."""
    allow_volume_deletion: NotRequired[bool]
    """Let `pulumi destroy`, or an update that renames or removes them, delete the namespaces of the
    store, the mirror and the daemons, and with them their volumes. Default: they stay."""


class RunnerPlatform(pulumi.ComponentResource):
    """A GitLab runner on Kubernetes whose docker builds stay warm.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    runner_namespace: pulumi.Output[str]
    """Namespace of the runner itself."""
    job_namespace: pulumi.Output[str]
    """Namespace of the jobs' pods."""
    release_name: pulumi.Output[str] | None
    """Name of the Helm release and of the runner's Deployment; none with fleets."""
    config_checksum: pulumi.Output[str] | None
    """SHA-256 of the rendered config.toml; none with fleets."""
    release_names: pulumi.Output[dict[str, str]] | None
    """Names of the Helm releases by fleet."""
    docker_hosts: pulumi.Output[dict[str, str]] | None
    """Addresses of the shared daemons by trust zone, where there are several zones: of the first,
    where there are several daemons."""
    cache_backend: pulumi.Output[str]
    """Where the distributed cache is kept: minio, s3, external or none."""
    cache_endpoint: pulumi.Output[str] | None
    """`host:port` of the cache's store, where it is not AWS S3."""
    cache_bucket: pulumi.Output[str] | None
    """Bucket of the distributed cache."""
    cache_credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with the cache's credentials."""
    docker_host: pulumi.Output[str] | None
    """Address of the default zone's shared daemon; of the first, where there are several."""
    docker_client_secret_name: pulumi.Output[str] | None
    """Secret in the job namespace with the daemon's client certificate."""
    docker_namespace: pulumi.Output[str] | None
    """Namespace of the default zone's shared daemon."""
    buildkit_host: pulumi.Output[str] | None
    """Address of the default zone's buildkitd; of the first, where there are several."""
    registry_mirror_url: pulumi.Output[str] | None
    """Address of the registry mirror."""

    def __init__(
        self, name: str, args: RunnerPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self._spec = spec = validate(
            RunnerPlatformSpec, args, f"RunnerPlatform '{name}'", also=_name_problems(name, args)
        )
        fleets = args.get("fleets")
        super().__init__(token("RunnerPlatform"), name, {}, opts)
        for output in RunnerPlatform.__annotations__:
            setattr(self, output, None)
        self.runner_namespace = pulumi.Output.from_input(spec.namespaces.runner)
        self.job_namespace = pulumi.Output.from_input(spec.namespaces.jobs)
        self.cache_backend = pulumi.Output.from_input(spec.cache.backend)

        self._ready = self._namespaces(name)
        if spec.network.enable_policies:
            self._default_deny(name)
        self._annotations: dict[str, pulumi.Input[str]] = {}
        self._pod_labels: dict[str, pulumi.Input[str]] = {}
        self._targets: list[monitoring.Target] = []
        self._prefix: pulumi.Input[str] = ""
        cache = self._cache(name, args.get("cache") or {})
        self._mirror = self._registry_mirror(name, args)
        zones = {zone: self._zone(name, zone, args) for zone in spec.zone_names()}
        hosts = {
            zone: daemons["docker"]["host"]
            for zone, daemons in zones.items()
            if "docker" in daemons
        }
        if spec.zones and hosts:
            self.docker_hosts = pulumi.Output.all(**hosts)
        common: dict[str, Any] = {
            "gitlab_url": spec.gitlab_url,
            "namespace": spec.namespaces.runner,
            "service_account_annotations": self._annotations,
            "manager_pod_labels": self._pod_labels,
            "allow_insecure_gitlab_url": spec.network.allow_insecure_gitlab_url,
            "metrics_namespaces": self._readers(),
            "api_server_ports": spec.network.api_server_ports,
            "gitlab_port": spec.network.gitlab_port,
            **self._surroundings(),
        }
        # What the caller left out keeps its default, in one place.
        shared: dict[str, Any] = dict(args.get("runner") or {})
        self._runners: dict[str, GitLabRunner] = {}
        if not spec.fleets:
            own = {**shared, **common, **_token(spec)}
            self._runners[""] = self._runner_of(name, "", own, DEFAULT_ZONE, zones, cache)
            self.release_name = self._runners[""].release_name
            self.config_checksum = self._runners[""].config_checksum
        for fleet, settings in spec.fleets.items():
            mine = (fleets or {})[fleet].get("runner") or {}
            own = {**shared, **mine, **common, **_token(settings)}
            self._runners[fleet] = self._runner_of(name, fleet, own, settings.zone, zones, cache)
        if spec.fleets:
            self.release_names = pulumi.Output.all(
                **{fleet: runner.release_name for fleet, runner in self._runners.items()}
            )
        self._monitoring(name)
        self.register_outputs(self.outputs)

    def _surroundings(self) -> dict[str, Any]:
        """Return what every part of the platform that reaches out is told of the network."""
        network = self._spec.network
        return {
            "enable_network_policies": network.enable_policies,
            "egress_cidrs": network.egress_cidrs,
            "dns_cidrs": network.dns_cidrs,
        }

    def _readers(self) -> list[pulumi.Input[str]]:
        """Return the namespaces that may read metrics."""
        wanted = self._spec.monitoring
        return [wanted.prometheus_namespace] if wanted and wanted.enable_pod_monitor else []

    def _monitoring(self, name: str) -> None:
        spec = self._spec
        if spec.monitoring is None:
            return
        runner_targets = [
            monitoring.runner_target(
                spec.namespaces.runner, _release_name(name, fleet), fleet or "runner"
            )
            for fleet, runner in self._runners.items()
            if runner.serves_metrics
        ]
        volumes = [spec.namespaces.cache] if spec.cache.has_minio else []
        volumes += [spec.namespaces.mirror] if spec.registry_mirror else []
        volumes += [
            str(zone.docker_namespace)
            for zone in map(spec.zone, spec.zone_names())
            if zone.has_daemon
        ]
        monitoring.declare(
            f"{name}-monitoring",
            spec.namespaces.runner,
            spec.monitoring,
            [*runner_targets, *self._targets],
            volumes,
            opts=self._child(),
        )

    def _registry_mirror(self, name: str, args: RunnerPlatformArgs) -> RegistryMirror | None:
        spec = self._spec
        if spec.registry_mirror is None:
            return None
        zones = [spec.zone(zone) for zone in spec.zone_names()]
        clients = [str(zone.job_namespace) for zone in zones]
        clients += [str(zone.docker_namespace) for zone in zones if zone.has_daemon]
        mirror_args: dict[str, Any] = {
            **args["registry_mirror"],
            "namespace": spec.namespaces.mirror,
            "job_namespace": zones[0].job_namespace,
            "client_namespaces": clients,
            "cluster_domain": spec.network.cluster_domain,
            **self._surroundings(),
        }
        mirror = RegistryMirror(
            f"{name}-mirror", cast(RegistryMirrorArgs, mirror_args), opts=self._child()
        )
        self.registry_mirror_url = mirror.url
        for zone, namespace in self._other_job_namespaces().items():
            # Pods mount ConfigMaps of their own namespace alone.
            k8s.core.v1.ConfigMap(
                f"{name}-{zone}-mirror-daemon",
                metadata={"name": f"{name}-mirror-daemon", "namespace": namespace},
                data={"daemon.json": lift(daemon_json, mirror.url)},
                opts=self._child(),
            )
        return mirror

    def _runner_of(
        self,
        name: str,
        fleet: str,
        options: dict[str, Any],
        zone: str,
        zones: Mapping[str, Any],
        cache: RunnerCacheArgs | None,
    ) -> GitLabRunner:
        release_name = _release_name(name, fleet)
        more: dict[str, Any] = {
            "job_namespace": self._spec.zone(zone).job_namespace,
            "release_name": release_name,
        }
        if cache:
            # A zone's jobs cannot read or replace what those of another one cached.
            more["cache"] = {**cache, "path": concat(self._prefix, _prefix(name, zone))}
        more |= zones[zone]
        if self._mirror and self._has_privilege(zone):
            more["registry_mirror"] = {
                "url": self._mirror.url,
                "daemon_config_map_name": self._mirror.daemon_config_map_name,
            }
        return GitLabRunner(
            f"{release_name}-runner",
            cast(GitLabRunnerArgs, {**options, **more}),
            opts=self._child(),
        )

    @property
    def outputs(self) -> dict[str, pulumi.Output[Any]]:
        """Every output that has a value, by name (native only): what a program exports."""
        names = RunnerPlatform.__annotations__
        known = {name: getattr(self, name) for name in names}
        return {name: value for name, value in known.items() if value is not None}

    @property
    def runners(self) -> Mapping[str, GitLabRunner]:
        """The runners by fleet; the name is empty where there are no fleets (native only)."""
        return self._runners

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=self._ready)

    def _namespaces(self, name: str) -> list[pulumi.Resource]:
        spec = self._spec
        if not spec.namespaces.enable_creation:
            return []
        made = [self._namespace(f"{name}-runner", spec.namespaces.runner, "restricted")]
        if spec.cache.has_minio:
            made.append(
                self._namespace(
                    f"{name}-cache", spec.namespaces.cache, "restricted", has_volume=True
                )
            )
        if spec.registry_mirror:
            made.append(
                self._namespace(
                    f"{name}-mirror", spec.namespaces.mirror, "restricted", has_volume=True
                )
            )
        for zone in spec.zone_names():
            settings, prefix = spec.zone(zone), _prefix(name, zone)
            level: kube.PodSecurity = "privileged" if self._has_privilege(zone) else "baseline"
            made.append(self._namespace(f"{prefix}-jobs", str(settings.job_namespace), level))
            if settings.has_daemon:
                made.append(
                    self._namespace(
                        f"{prefix}-docker",
                        str(settings.docker_namespace),
                        "privileged",
                        has_volume=True,
                    )
                )
        return made

    def _default_deny(self, name: str) -> None:
        """Isolate what else is in the namespaces whose policies are for single pods."""
        spec = self._spec
        wanted = {
            "cache": spec.namespaces.cache if spec.cache.has_minio else None,
            "mirror": spec.namespaces.mirror if spec.registry_mirror else None,
        }
        for part, namespace in wanted.items():
            if namespace:
                net.policy(
                    f"{name}-{part}-default-deny",
                    namespace,
                    ingress=[],
                    egress=[],
                    opts=self._child(),
                )

    def _has_privilege(self, zone: str) -> bool:
        """Tell whether any container of a zone's jobs is privileged."""
        spec = self._spec
        options = [spec.options(fleet) for fleet in spec.fleets.values() if fleet.zone == zone]
        if not spec.fleets:
            options = [spec.runner.given()]
        kinds = ("enable_privileged_jobs", "enable_privileged_services")
        return any(
            option.get(kind) or privileges(option.get("extra_config"))
            for option in options
            for kind in kinds
        )

    def _namespace(
        self, name: str, namespace: str, level: kube.PodSecurity, *, has_volume: bool = False
    ) -> pulumi.Resource:
        spec = self._spec
        resource_name = f"{name}-namespace"
        setting = "enableAdoption to true" if has_volume else "enableCreation to false"
        return k8s.core.v1.Namespace(
            resource_name,
            metadata={"name": namespace, "labels": kube.namespace_labels(level)},
            opts=pulumi.ResourceOptions(
                parent=self,
                # Deleting a namespace deletes its volumes. Not `False`: the caller may say more.
                retain_on_delete=(has_volume and not spec.allow_volume_deletion) or None,
                import_=namespace if has_volume and spec.namespaces.enable_adoption else None,
                hooks=kube.refuse_existing_namespace(
                    resource_name, f"set namespaces.{setting} to use it"
                ),
            ),
        )

    def _cache(self, name: str, args: CacheSettingsArgs) -> RunnerCacheArgs | None:
        spec = self._spec
        minio = self._minio(name, args) if spec.cache.has_minio else None
        if spec.cache.backend == "minio":
            assert minio is not None  # the backend has it
            return self._minio_store(minio)
        if spec.cache.backend == "s3":
            return self._s3(name, args["s3"])
        if spec.cache.backend == "external":
            external = ExternalCache(
                f"{name}-cache",
                {**args["external"], "runner_namespace": spec.namespaces.runner, "path": name},
                opts=self._child(),
            )
            self.cache_bucket = external.bucket
            self.cache_credentials_secret_name = external.credentials_secret_name
            address = spec.cache.external and spec.cache.external.s3
            if address and address.server_address is not None:
                self.cache_endpoint = pulumi.Output.from_input(address.server_address)
            self._annotations |= external.identity_annotations
            self._pod_labels |= external.identity_labels
            return external.runner_cache
        return None

    def _minio(self, name: str, args: CacheSettingsArgs) -> MinioCache:
        """Declare the in-cluster store, and who reaches it."""
        spec = self._spec
        minio_args: dict[str, Any] = {
            **(args.get("minio") or {}),
            "namespace": spec.namespaces.cache,
            "runner_namespace": spec.namespaces.runner,
            "job_namespace": spec.zone(spec.zone_names()[0]).job_namespace,
            "cluster_domain": spec.network.cluster_domain,
            "enable_network_policies": spec.network.enable_policies,
            "dns_cidrs": spec.network.dns_cidrs,
        }
        minio = MinioCache(f"{name}-cache", cast(MinioCacheArgs, minio_args), opts=self._child())
        options = spec.cache.minio or MinioOptions()
        if options.enable_metrics:
            self._targets.append(_store_target(name, spec.namespaces.cache, options, minio))
        if spec.network.enable_policies:
            self._open_store(f"{name}-cache", options)
        if minio.ca_certificate is not None:
            self._trust_store(f"{name}-cache", minio.ca_certificate)
        return minio

    def _minio_store(self, minio: MinioCache) -> RunnerCacheArgs:
        """Return the in-cluster store as runners are told of it."""
        self.cache_endpoint = minio.endpoint
        self.cache_bucket = minio.bucket
        self.cache_credentials_secret_name = minio.credentials_secret_name
        store: RunnerCacheArgs = {
            "bucket": minio.bucket,
            "server_address": minio.endpoint,
            "insecure": minio.ca_secret_name is None,
            "credentials_secret_name": minio.credentials_secret_name,
            "credentials_checksum": minio.credentials_checksum,
        }
        if minio.ca_secret_name is not None:
            store["ca_secret_name"] = minio.ca_secret_name
        return store

    def _other_job_namespaces(self) -> dict[str, str]:
        """Return the job namespaces by zone, without the first: components know that one."""
        _, *others = self._spec.zone_names()
        return {zone: str(self._spec.zone(zone).job_namespace) for zone in others}

    def _trust_store(self, store: str, authority: pulumi.Output[str]) -> None:
        """Let the other zones' jobs trust the in-cluster store, too."""
        for zone, namespace in self._other_job_namespaces().items():
            # Pods mount Secrets of their own namespace alone.
            k8s.core.v1.Secret(
                f"{store}-ca-zone-{zone}",
                metadata={"name": f"{store}-ca", "namespace": namespace},
                string_data={"ca.crt": authority},
                opts=self._child(),
            )

    def _open_store(self, store: str, options: MinioOptions) -> None:
        """Let the other zones' jobs, and Prometheus, reach the in-cluster store, too."""
        admitted: list[tuple[str, list[pulumi.Input[str]], int]] = [
            (f"zone-{zone}", [namespace], net.S3_PORT)
            for zone, namespace in self._other_job_namespaces().items()
        ]
        if self._readers() and options.enable_metrics:
            admitted.append(("metrics", self._readers(), ENGINES[options.engine].metrics_port))
        for who, namespaces, port in admitted:
            net.policy(
                f"{store}-{who}",
                self._spec.namespaces.cache,
                ingress=net.namespace_rule(namespaces, port),
                egress=[],
                pods=kube.selector("minio", store),
                opts=self._child(),
            )

    def _s3(self, name: str, args: S3OptionsArgs) -> RunnerCacheArgs:
        assert self._spec.cache.s3 is not None  # the spec holds that it is set
        options = self._spec.cache.s3
        s3 = S3Cache(
            f"{name}-cache",
            {
                **args,
                "runner_namespace": self._spec.namespaces.runner,
                "service_account_names": [
                    _release_name(name, fleet) for fleet in self._spec.fleets or [""]
                ],
            },
            opts=self._child(),
        )
        self.cache_bucket = s3.bucket
        self.cache_credentials_secret_name = s3.credentials_secret_name
        if options.identity in {"irsa", "existing"} and s3.role_arn is not None:
            self._annotations["eks.amazonaws.com/role-arn"] = s3.role_arn
        cache: RunnerCacheArgs = {"bucket": s3.bucket, "region": s3.region}
        if options.kms_key_arn is not None:
            cache["kms_key_arn"] = options.kms_key_arn
        if s3.credentials_secret_name is not None:
            cache["credentials_secret_name"] = s3.credentials_secret_name
            cache["credentials_checksum"] = s3.credentials_checksum
        if options.enable_large_objects:
            cache["role_arn"] = s3.object_role_arn
        if options.prefix is not None:
            self._prefix = lift(_folder, options.prefix)
        return cache

    def _zone(self, name: str, zone: str, args: RunnerPlatformArgs) -> dict[str, Any]:
        """Declare a zone's daemon; return what its runners need of it."""
        settings = self._spec.zone(zone)
        given: Any = args if zone == DEFAULT_ZONE else args["zones"][zone]
        place: dict[str, Any] = {
            "namespace": settings.docker_namespace,
            "job_namespace": settings.job_namespace,
            "cluster_domain": self._spec.network.cluster_domain,
            **self._surroundings(),
        }
        own = given.get("docker_daemon") or given.get("buildkit_daemon") or {}
        if self._mirror:
            place["registry_mirrors"] = [*(own.get("registry_mirrors") or []), self._mirror.url]
        if settings.buildkit_daemon:
            return {"buildkit": self._buildkit(name, zone, {**own, **place})}
        if settings.docker_daemon:
            return {"docker": self._docker(name, zone, {**own, **place})}
        return {}

    def _buildkit(self, name: str, zone: str, args: dict[str, Any]) -> dict[str, Any]:
        daemon = BuildKitDaemon(
            f"{_prefix(name, zone)}-buildkit", cast(BuildKitDaemonArgs, args), opts=self._child()
        )
        if zone == DEFAULT_ZONE:
            self.buildkit_host = daemon.buildkit_host
        return {
            "host": daemon.buildkit_host,
            "client_secret_name": daemon.client_secret_name,
            "replicas": self._spec.zone(zone).replicas,
        }

    def _docker(self, name: str, zone: str, args: dict[str, Any]) -> dict[str, Any]:
        prefix = _prefix(name, zone)
        if self._readers():
            args["metrics_namespaces"] = self._readers()
            self._targets.append(
                monitoring.Target(
                    "docker",
                    "docker" if zone == DEFAULT_ZONE else f"docker-{zone}",
                    str(self._spec.zone(zone).docker_namespace),
                    kube.selector("docker", f"{prefix}-docker"),
                    "metrics",
                    replicas=self._spec.zone(zone).replicas,
                )
            )
        daemon = SharedDockerDaemon(
            f"{prefix}-docker", cast(SharedDockerDaemonArgs, args), opts=self._child()
        )
        if zone == DEFAULT_ZONE:
            self.docker_host = daemon.docker_host
            self.docker_client_secret_name = daemon.client_secret_name
            self.docker_namespace = daemon.namespace
        return {
            "host": daemon.docker_host,
            "client_secret_name": daemon.client_secret_name,
            "replicas": self._spec.zone(zone).replicas,
        }


def _name_problems(name: Any, args: Any) -> list[str]:
    """Return what is wrong with the names of the platform and of its parts."""
    daemons = [
        f"{name}-{zone}-{kind}"
        for zone in keys_of(args, "zones")
        # The daemon's own suffix: see `SharedDockerDaemon`.
        for kind in ("docker-rootless", "buildkit")
        if f"{kind.partition('-')[0]}_daemon" in keys_of(args["zones"], zone)
    ]
    releases = [f"{name}-{fleet}" for fleet in keys_of(args, "fleets")]
    return [
        # Of the parts that are always named after the platform alone, `-cache` has the least room.
        *name_problems(MAXIMUM_NAME - len("-cache"), name),
        *name_problems(40, *releases),
        *name_problems(STATEFUL_SET_NAME, *daemons),
    ]


def _store_target(
    name: str, namespace: str, options: MinioOptions, minio: MinioCache
) -> monitoring.Target:
    """Return how the store's metrics are read."""
    labels = kube.selector("minio", f"{name}-cache")
    if options.engine == "seaweedfs":
        return monitoring.Target("store", "store", namespace, labels, "metrics")
    secret = minio.metrics_secret_name
    return monitoring.Target(
        "store",
        "store",
        namespace,
        labels,
        "s3",
        monitoring.MINIO_METRICS_PATH,
        (secret, "token") if secret is not None else None,
        # Prometheus knows the pod by its address, which is not in the certificate; the token is
        # only good for metrics.
        {"insecureSkipVerify": True} if options.enable_tls else None,
    )


def _folder(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/"


def _release_name(name: str, fleet: str) -> str:
    """Return the name of a fleet's release; the name is empty where there are no fleets."""
    return f"{name}-{fleet}" if fleet else name


def _prefix(name: str, zone: str) -> str:
    """Return what the names of a zone's resources begin with."""
    return name if zone == DEFAULT_ZONE else f"{name}-{zone}"


def _token(given: RunnerPlatformSpec | FleetSettings) -> dict[str, Any]:
    """Return the argument that says where the token comes from."""
    names = ("runner_token", "token_secret_name", "token_external_secret")
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}
