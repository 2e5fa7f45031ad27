"""Everything together: namespaces, runner, distributed cache and shared daemon."""

from enum import Enum
from typing import Any, NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from . import _kubernetes as kube
from ._meta import token
from ._specs import RunnerPlatformSpec
from ._validation import validate
from .gitlab_runner import GitLabRunner, GitLabRunnerArgs, RunnerCacheArgs, RunnerOptionsArgs
from .minio_cache import MinioCache, MinioCacheArgs, MinioOptionsArgs
from .s3_cache import S3Cache, S3OptionsArgs
from .shared_docker_daemon import DockerOptionsArgs, SharedDockerDaemon


class CacheBackend(str, Enum):
    """Where the distributed cache is kept."""

    MINIO = "minio"
    """A store in the cluster, made by the platform."""
    S3 = "s3"
    """A bucket on AWS, made by the platform."""
    EXISTING = "existing"
    """An S3-compatible store that is there already."""
    NONE = "none"
    """No distributed cache."""


class CacheSettingsArgs(TypedDict):
    """The distributed cache."""

    backend: NotRequired[CacheBackend]
    """Where the cache is kept. Default: minio."""
    minio: NotRequired[MinioOptionsArgs]
    """Options of the backend `minio`. Default: its defaults."""
    s3: NotRequired[S3OptionsArgs]
    """Options of the backend `s3`, which requires them."""
    existing: NotRequired[RunnerCacheArgs]
    """The store of the backend `existing`, which requires it."""


class NamespacesArgs(TypedDict):
    """The four namespaces. Each has its own secrets and Pod Security level."""

    runner: NotRequired[str]
    """Of the runner itself (restricted). Default: gitlab-runner."""
    jobs: NotRequired[str]
    """Of the jobs' pods (baseline, or privileged where the jobs are). Default:
    gitlab-runner-jobs."""
    cache: NotRequired[str]
    """Of the in-cluster store (restricted). Default: gitlab-runner-cache."""
    docker: NotRequired[str]
    """Of the shared daemon (privileged). Default: gitlab-runner-docker."""
    enable_creation: NotRequired[bool]
    """Make the namespaces. Default: made. Otherwise they, and their Pod Security labels, are
    yours."""
    enable_adoption: NotRequired[bool]
    """Take over the two namespaces of the volumes, which `pulumi destroy` leaves, in a stack that
    is made again. Default: they must not exist."""


class NetworkArgs(TypedDict):
    """The network around the platform."""

    enable_policies: NotRequired[bool]
    """Deny all traffic but what is needed. Default: denied. Has no effect where the cluster's
    network does not enforce NetworkPolicy."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs and builds may reach: those of GitLab and of registries.
    Default: none."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an http:// address of GitLab. Default: refused."""


class RunnerPlatformArgs(TypedDict):
    """Arguments of `RunnerPlatform`."""

    gitlab_url: pulumi.Input[str]
    """Address of GitLab, `https://…`."""
    runner_token: NotRequired[pulumi.Input[str]]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. One of this and
    `token_secret_name` is required."""
    token_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret with the keys `runner-token` and `runner-registration-token` (empty)."""
    runner: NotRequired[RunnerOptionsArgs]
    """The runner and its jobs. Default: its defaults."""
    cache: NotRequired[CacheSettingsArgs]
    """The distributed cache. Default: a store in the cluster."""
    docker_daemon: NotRequired[DockerOptionsArgs]
    """The shared docker daemon. Default: none. Whoever may run a job is root on its node."""
    namespaces: NotRequired[NamespacesArgs]
    """The namespaces. Default: made, with their default names."""
    network: NotRequired[NetworkArgs]
    """The network around the platform. Default: its defaults."""
    allow_volume_deletion: NotRequired[bool]
    """Let `pulumi destroy` delete the namespaces of the store and of the daemon, and with them
    their volumes. Default: both namespaces stay."""


class RunnerPlatform(pulumi.ComponentResource):
    """A GitLab runner on Kubernetes whose docker builds stay warm.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    runner_namespace: pulumi.Output[str]
    """Namespace of the runner itself."""
    job_namespace: pulumi.Output[str]
    """Namespace of the jobs' pods."""
    release_name: pulumi.Output[str]
    """Name of the Helm release and of the runner's Deployment."""
    config_checksum: pulumi.Output[str]
    """SHA-256 of the rendered config.toml."""
    cache_backend: pulumi.Output[str]
    """Where the distributed cache is kept: minio, s3, existing or none."""
    cache_endpoint: pulumi.Output[str] | None
    """`host:port` of the cache's store, where it is not AWS S3."""
    cache_bucket: pulumi.Output[str] | None
    """Bucket of the distributed cache."""
    cache_credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with the cache's credentials."""
    docker_host: pulumi.Output[str] | None
    """Address of the shared daemon."""
    docker_client_secret_name: pulumi.Output[str] | None
    """Secret in the job namespace with the daemon's client certificate."""
    docker_namespace: pulumi.Output[str] | None
    """Namespace of the shared daemon."""

    def __init__(
        self, name: str, args: RunnerPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self._spec = spec = validate(RunnerPlatformSpec, args, f"RunnerPlatform '{name}'")
        super().__init__(token("RunnerPlatform"), name, {}, opts)
        self.cache_backend = pulumi.Output.from_input(spec.cache.backend)
        self.cache_endpoint = None
        self.cache_bucket = None
        self.cache_credentials_secret_name = None
        self.docker_host = None
        self.docker_client_secret_name = None
        self.docker_namespace = None

        self._ready: list[pulumi.Resource] = []
        self._ready = self._namespaces(name)
        annotations: dict[str, pulumi.Input[str]] = {}
        runner_args: dict[str, Any] = {
            # What the caller left out keeps its default, in one place.
            **(args.get("runner") or {}),
            "gitlab_url": spec.gitlab_url,
            "namespace": spec.namespaces.runner,
            "job_namespace": spec.namespaces.jobs,
            "release_name": name,
            "service_account_annotations": annotations,
            "allow_insecure_gitlab_url": spec.network.allow_insecure_gitlab_url,
            "enable_network_policies": spec.network.enable_policies,
            "egress_cidrs": spec.network.egress_cidrs,
        }
        for key in ("runner_token", "token_secret_name"):
            if getattr(spec, key) is not None:
                runner_args[key] = getattr(spec, key)
        cache = self._cache(name, args.get("cache") or {}, annotations)
        if cache:
            runner_args["cache"] = cache
        if args.get("docker_daemon") is not None:
            runner_args["docker"] = self._docker(name, args["docker_daemon"])
        self._runner = GitLabRunner(
            f"{name}-runner",
            cast(GitLabRunnerArgs, runner_args),
            opts=self._child(),
        )
        self.runner_namespace = self._runner.namespace
        self.job_namespace = self._runner.job_namespace
        self.release_name = self._runner.release_name
        self.config_checksum = self._runner.config_checksum
        self.register_outputs(self.outputs)

    @property
    def outputs(self) -> dict[str, pulumi.Output[str]]:
        """Every output that has a value, by name (native only): what a program exports."""
        names = RunnerPlatform.__annotations__
        known = {name: getattr(self, name) for name in names}
        return {name: value for name, value in known.items() if value is not None}

    @property
    def runner(self) -> GitLabRunner:
        """The runner (native only)."""
        return self._runner

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=self._ready)

    def _namespaces(self, name: str) -> list[pulumi.Resource]:
        spec = self._spec
        if not spec.namespaces.enable_creation:
            return []
        levels: dict[str, kube.PodSecurity] = {
            "runner": "restricted",
            "jobs": "privileged" if spec.runner.enable_privileged_jobs else "baseline",
        }
        if spec.cache.backend == "minio":
            levels["cache"] = "restricted"
        if spec.docker_daemon:
            levels["docker"] = "privileged"
        made: list[pulumi.Resource] = []
        for role, level in levels.items():
            namespace = getattr(spec.namespaces, role)
            has_volume = role in {"cache", "docker"}
            made.append(
                k8s.core.v1.Namespace(
                    f"{name}-{role}-namespace",
                    metadata={"name": namespace, "labels": kube.namespace_labels(level)},
                    opts=pulumi.ResourceOptions(
                        parent=self,
                        # Deleting a namespace deletes its volumes.
                        retain_on_delete=has_volume and not spec.allow_volume_deletion,
                        import_=(
                            namespace if has_volume and spec.namespaces.enable_adoption else None
                        ),
                    ),
                )
            )
        return made

    def _cache(
        self, name: str, args: CacheSettingsArgs, annotations: dict[str, pulumi.Input[str]]
    ) -> RunnerCacheArgs | None:
        spec = self._spec
        if spec.cache.backend == "minio":
            minio_args: dict[str, Any] = {
                **(args.get("minio") or {}),
                "namespace": spec.namespaces.cache,
                "runner_namespace": spec.namespaces.runner,
                "job_namespace": spec.namespaces.jobs,
                "cluster_domain": spec.network.cluster_domain,
                "enable_network_policies": spec.network.enable_policies,
            }
            minio = MinioCache(
                f"{name}-cache", cast(MinioCacheArgs, minio_args), opts=self._child()
            )
            self.cache_endpoint = minio.endpoint
            self.cache_bucket = minio.bucket
            self.cache_credentials_secret_name = minio.credentials_secret_name
            return {
                "bucket": minio.bucket,
                "server_address": minio.endpoint,
                "insecure": True,
                "credentials_secret_name": minio.credentials_secret_name,
                "credentials_checksum": minio.credentials_checksum,
            }
        if spec.cache.backend == "s3":
            return self._s3(name, args["s3"], annotations)
        if spec.cache.backend == "existing":
            existing = args["existing"]
            self.cache_bucket = pulumi.Output.from_input(existing["bucket"])
            address = existing.get("server_address")
            if address is not None:
                self.cache_endpoint = pulumi.Output.from_input(address)
            return existing
        return None

    def _s3(
        self, name: str, args: S3OptionsArgs, annotations: dict[str, pulumi.Input[str]]
    ) -> RunnerCacheArgs:
        assert self._spec.cache.s3 is not None  # the spec holds that it is set
        options = self._spec.cache.s3
        s3 = S3Cache(
            f"{name}-cache",
            {
                **args,
                "runner_namespace": self._spec.namespaces.runner,
                "service_account_name": name,
            },
            opts=self._child(),
        )
        self.cache_bucket = s3.bucket
        self.cache_credentials_secret_name = s3.credentials_secret_name
        if options.identity == "irsa" and s3.role_arn is not None:
            annotations["eks.amazonaws.com/role-arn"] = s3.role_arn
        cache: RunnerCacheArgs = {"bucket": s3.bucket, "region": s3.region}
        if options.kms_key_arn is not None:
            cache["kms_key_arn"] = options.kms_key_arn
        if s3.credentials_secret_name is not None:
            cache["credentials_secret_name"] = s3.credentials_secret_name
            cache["credentials_checksum"] = s3.credentials_checksum
        if options.enable_large_objects:
            cache["role_arn"] = s3.role_arn
        return cache

    def _docker(self, name: str, args: DockerOptionsArgs) -> Any:
        spec = self._spec
        daemon = SharedDockerDaemon(
            f"{name}-docker",
            {
                **args,
                "namespace": spec.namespaces.docker,
                "job_namespace": spec.namespaces.jobs,
                "cluster_domain": spec.network.cluster_domain,
                "enable_network_policies": spec.network.enable_policies,
                "egress_cidrs": spec.network.egress_cidrs,
            },
            opts=self._child(),
        )
        self.docker_host = daemon.docker_host
        self.docker_client_secret_name = daemon.client_secret_name
        self.docker_namespace = daemon.namespace
        return {"host": daemon.docker_host, "client_secret_name": daemon.client_secret_name}
